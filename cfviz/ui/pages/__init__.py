"""One module or folder for each file in `pages/`, under the same name."""
