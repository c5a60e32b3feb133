/* The names of a directory as readdir(3) gives them. */
#ifndef TFS_LISTING_H
#define TFS_LISTING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* All zero at first. */
struct tfs_listing {
    size_t count, room;
    struct tfs_listed {
        char *name;
        uint64_t ino;
        mode_t type; /* S_IFDIR, S_IFREG */
    } * list;
};

/* 0 or -ENOMEM. */
int tfs_listing_add(struct tfs_listing *listing, const char *name, uint64_t ino, mode_t type);
void tfs_listing_clear(struct tfs_listing *listing);

#endif
