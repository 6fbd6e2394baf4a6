package app

// private does nothing here: a new file has the rights of its directory.
func private() {}
