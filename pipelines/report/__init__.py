"""`cmcl report`: static pages about a corpus, which open from disk without a network.

`build` writes them; `overview` and `gallery` are the two pages' content; `static/report.js` is the gallery's script. Everything that comes
from data is text in the pages (`escape`), and no path of this machine reaches one (`privacy`).
"""
