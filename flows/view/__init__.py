"""``miha view``: a local page with a map to pan and zoom, a slider over days, and layers.

No tile server was taken: localtileserver, leafmap and folium draw with a map library that the browser loads from the
web, and titiler brings a web framework and warps to a projection of its own. Scenes of one grid need neither tiles nor
warping: what the window shows is read decimated by rasterio, overviews included, and sent as one PNG.
"""
