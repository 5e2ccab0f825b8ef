"""The app. `streamlit run app.py` imports it for its server, and runs it as the home page."""

from __future__ import annotations

if __name__ == "__main__":  # the home page: the whole of CrossFormer in one living figure
    from cfviz.ui import start
    from cfviz.ui.pages.home import show_model

    show_model(start("home"))
else:
    import gc

    from streamlit.starlette import App

    from cfviz.deferred import uncollected

    with uncollected():
        from cfviz.ui import server

        gc.freeze()

    app = App("app.py", lifespan=server.running, middleware=server.MIDDLEWARE)
