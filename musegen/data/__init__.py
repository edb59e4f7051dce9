"""General data sets, batches, folders of files, and the data that ship with musegen."""
