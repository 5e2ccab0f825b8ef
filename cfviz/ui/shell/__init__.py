"""The frame around every page: title, navigation, sidebar, banner."""
