/* Resolving a path once, and opening it afterwards without following anything. */
#ifndef CAISSON_PATHS_H
#define CAISSON_PATHS_H

#include <limits.h>
#include <stdbool.h>

/*
 * As realpath, but what comes after the deepest existing folder is kept as it stands, so that a file yet to be
 * made has a path too. ".." after a missing part is refused with ENOENT, a dangling symlink with ELOOP.
 */
bool path_resolve(const char *path, char resolved[PATH_MAX]);
/* Opens an absolute path none of whose parts is a symlink; ELOOP when one is. */
int path_open(const char *path, int flags);
/* The same for a folder, making the missing ones. "" is the root. */
int folders_make(const char *path);

#endif
