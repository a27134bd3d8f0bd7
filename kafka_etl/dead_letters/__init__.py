"""Dead letters as they are read back from their topic, and the commonest causes of a run.

The readers (`decode`, `replayed`, `cuts`, …) are imported by their modules: the daemon and every
process of a pipeline import this package, and start without them.
"""

from kafka_etl.dead_letters.causes import Cause, Causes, cause_of
from kafka_etl.dead_letters.letter import Place, StoredLetter

__all__ = ["Cause", "Causes", "Place", "StoredLetter", "cause_of"]
