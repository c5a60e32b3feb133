/* The directory to mount on, looked at before anything is done. */
#ifndef TFS_MOUNTPOINT_H
#define TFS_MOUNTPOINT_H

#include <stdbool.h>

/* Checks that a topicfs can be mounted on `path`: a directory, not one already. A mount that a killed daemon left
 * there is taken away, with a message. 0 and an absolute path, to be freed; else it has been said why not, -errno. */
int tfs_mountpoint_prepare(const char *path, char **absolute);

/* Whether a topicfs that serves that store (an absolute path) is mounted anywhere. */
bool tfs_mounted_from(const char *store);

#endif
