"""The pages: one module or package for each file in `pages/`, under the same name."""
