/* What was removed from sight in `.trash` (trash.c). */
#ifndef TFS_TRASH_H
#define TFS_TRASH_H

#include <pthread.h>

struct tfs_trash {
    pthread_mutex_t lock;
    struct tfs_unseen *unseen;
};

void tfs_trash_init(struct tfs_trash *trash);
void tfs_trash_release(struct tfs_trash *trash);
/* An item has left the trash. */
void tfs_trash_left(struct tfs_trash *trash, const char *item);

#endif
