/*
 * Folders in which nothing was changed since the container started.
 *
 * In an overlay file system a file of a lower layer is copied into the upper folder before it is changed, a new one
 * is made there, and a deletion leaves a mark there. Each gives the upper folder a new change time, which nobody can
 * set. So a folder with a change time from before the container has no file of the container's, and its files are
 * as the image has them.
 */
#ifndef CAISSON_SETTLED_H
#define CAISSON_SETTLED_H

#include <stdbool.h>
#include <sys/stat.h>

/* False where that can't be told: other file systems keep no such order, and a clock set back makes times lie. */
bool settled_known(void);
/* Only when it is known. */
bool settled_folder(const struct stat *status);

#endif
