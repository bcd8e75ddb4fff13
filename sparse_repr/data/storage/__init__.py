"""Where images lie and how they are read: files, caches, memory, the device."""
