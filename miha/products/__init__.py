"""Products of archives: from a download to a stack of scenes on one grid."""
