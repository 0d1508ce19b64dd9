"""The registry of methods."""

from unirep.methods import dcid, fcid

# Name -> the class of its network; all else of a method is in its config.
METHODS = {"fcid": fcid.FCID, "dcid": dcid.DCID}
