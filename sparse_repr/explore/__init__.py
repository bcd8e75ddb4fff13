"""A page to try a run out in: images, their codes as sliders, and what the decoder draws, live in the browser.

`python -m sparse_repr.explore RUN`; docs/explorer.md says what is on the page. The page itself is in `page/`.
"""

from sparse_repr.explore.film import ActingNetwork, AgentFilm
from sparse_repr.explore.page import write_explorer

__all__ = ["ActingNetwork", "AgentFilm", "write_explorer"]
