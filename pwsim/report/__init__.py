"""How findings are shown.

``recording`` plays a schedule once more and watches it; ``view`` is the world as people read it, ``words`` one step in
words. On these stand the terminal's views (``text``, ``sequence``, ``state``, ``divergence``, ``why``), the page
(``html``) and what other programs read (``json``). Nothing here decides anything: a report is a function of a result.
"""
