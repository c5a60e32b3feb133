#include "listing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int tfs_listing_add(struct tfs_listing *listing, const char *name, uint64_t ino, mode_t type)
{
    if (listing->count == listing->room) {
        size_t room = listing->room > 0 ? 2 * listing->room : 16;
        struct tfs_listed *list = reallocarray(listing->list, room, sizeof *list);
        if (list == NULL)
            return -ENOMEM;
        listing->list = list;
        listing->room = room;
    }
    struct tfs_listed *listed = &listing->list[listing->count];
    *listed = (struct tfs_listed){.name = strdup(name), .ino = ino, .type = type};
    if (listed->name == NULL)
        return -ENOMEM;
    listing->count++;
    return 0;
}

void tfs_listing_clear(struct tfs_listing *listing)
{
    for (size_t i = 0; i < listing->count; i++)
        free(listing->list[i].name);
    free(listing->list);
    *listing = (struct tfs_listing){0};
}
