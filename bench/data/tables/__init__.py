"""Tables: data sets out of packages, click logs and ratings that the user provides."""
