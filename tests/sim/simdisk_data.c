/* The bytes of one simulated file: as seen, as durable, and what lies between the two. */
#include "simdisk_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Tests have no use for an answer to a full memory. */
void *sim_grow(void *array, size_t *capacity, size_t count, size_t each)
{
    if (count <= *capacity)
        return array;
    size_t wanted = *capacity ? *capacity : 8;
    while (wanted < count)
        wanted *= 2;
    void *grown = realloc(array, wanted * each);
    if (!grown)
        abort();
    memset((char *)grown + *capacity * each, 0, (wanted - *capacity) * each);
    *capacity = wanted;
    return grown;
}

struct sim_inode *sim_inode_new(struct simdisk *disk, bool directory)
{
    struct sim_inode *inode = calloc(1, sizeof *inode);
    if (!inode)
        abort();
    inode->directory = directory;
    inode->mirror = -1;
    inode->linked = true;
    inode->number = disk->inode_count;
    inode->mtime_ns = disk->realtime_ns;
    disk->inodes = sim_grow(disk->inodes, &disk->inode_capacity, disk->inode_count + 1, sizeof(struct sim_inode *));
    disk->inodes[disk->inode_count++] = inode;
    disk->inodes_used++;
    return inode;
}

static void events_clear(struct sim_inode *inode)
{
    for (size_t i = 0; i < inode->event_count; i++)
        free(inode->events[i].data);
    inode->event_count = 0;
}

void sim_inode_free(struct sim_inode *inode)
{
    if (!inode)
        return;
    events_clear(inode);
    sim_names_release(&inode->names);
    sim_names_release(&inode->disk_names);
    if (inode->mirror >= 0)
        close(inode->mirror);
    free(inode->events);
    free(inode->blocks);
    free(inode->data);
    free(inode->disk);
    free(inode);
}

static void *copy_bytes(const void *from, size_t length)
{
    void *to = malloc(length ? length : 1);
    if (!to)
        abort();
    if (length)
        memcpy(to, from, length);
    return to;
}

struct sim_inode *sim_inode_clone(const struct sim_inode *from)
{
    struct sim_inode *to = copy_bytes(from, sizeof *from);
    to->mirror = -1;
    to->locked = false;
    to->open = 0;
    to->data = copy_bytes(from->data, from->size);
    to->capacity = from->size;
    to->disk = copy_bytes(from->disk, from->disk_size);
    to->disk_capacity = from->disk_size;
    to->blocks = copy_bytes(from->blocks, from->block_count);
    to->events = copy_bytes(from->events, from->event_count * sizeof *from->events);
    to->event_capacity = from->event_count;
    for (size_t i = 0; i < from->event_count; i++)
        if (from->events[i].data)
            to->events[i].data = copy_bytes(from->events[i].data, from->events[i].length);
    sim_names_copy(&to->names, &from->names);
    sim_names_copy(&to->disk_names, &from->disk_names);
    return to;
}

/* Makes the buffer hold `size` bytes, the new ones zero. */
static unsigned char *stretch(unsigned char *data, size_t *capacity, size_t old_size, size_t size)
{
    data = sim_grow(data, capacity, size, 1);
    if (size > old_size)
        memset(data + old_size, 0, size - old_size);
    return data;
}

void sim_data_drop(struct simdisk *disk, struct sim_inode *inode)
{
    if (inode->linked || inode->open)
        return;
    for (size_t i = 0; i < inode->block_count; i++)
        disk->blocks_used -= inode->blocks[i];
    inode->block_count = 0;
    disk->inodes_used--;
}

int sim_data_reserve(struct simdisk *disk, struct sim_inode *inode, size_t foff, size_t length)
{
    if (!length)
        return 0;
    size_t first = foff / SIM_BLOCK, end = (foff + length + SIM_BLOCK - 1) / SIM_BLOCK;
    uint64_t wanted = 0;
    for (size_t i = first; i < end; i++)
        wanted += i >= inode->block_count || !inode->blocks[i];
    if (disk->blocks_used + wanted > disk->blocks)
        return -ENOSPC;
    if (end > inode->block_count) {
        size_t capacity = inode->block_count;
        inode->blocks = stretch(inode->blocks, &capacity, inode->block_count, end);
        inode->block_count = end;
    }
    memset(inode->blocks + first, 1, end - first);
    disk->blocks_used += wanted;
    return 0;
}

static struct sim_event *event_add(struct sim_inode *inode)
{
    inode->events = sim_grow(inode->events, &inode->event_capacity, inode->event_count + 1, sizeof *inode->events);
    struct sim_event *event = &inode->events[inode->event_count++];
    memset(event, 0, sizeof *event);
    event->size_after = inode->size;
    return event;
}

int sim_data_write(struct simdisk *disk, struct sim_inode *inode, const void *from, size_t length, size_t foff)
{
    if (!length)
        return 0;
    int error = sim_data_reserve(disk, inode, foff, length);
    if (error)
        return error;
    if (foff + length > inode->size) {
        inode->data = stretch(inode->data, &inode->capacity, inode->size, foff + length);
        inode->size = foff + length;
    }
    memcpy(inode->data + foff, from, length);
    if (inode->mirror >= 0 && pwrite(inode->mirror, from, length, (off_t)foff) != (ssize_t)length)
        abort();
    inode->mtime_ns = disk->realtime_ns;
    struct sim_event *event = event_add(inode);
    size_t end = foff + length;
    if (inode->tainted) {
        /* a page that counts as clean is written whole once it is dirty again */
        foff -= foff % SIM_BLOCK;
        end = (end + SIM_BLOCK - 1) / SIM_BLOCK * SIM_BLOCK;
        end = end < inode->size ? end : inode->size;
    }
    event->foff = foff;
    event->length = end - foff;
    event->data = copy_bytes(inode->data + foff, end - foff);
    return 0;
}

void sim_data_truncate(struct simdisk *disk, struct sim_inode *inode, size_t size)
{
    bool shrinks = size < inode->size;
    if (size == inode->size)
        return;
    if (!shrinks)
        inode->data = stretch(inode->data, &inode->capacity, inode->size, size);
    inode->size = size;
    if (inode->mirror >= 0 && ftruncate(inode->mirror, (off_t)size))
        abort();
    inode->mtime_ns = disk->realtime_ns;
    struct sim_event *event = event_add(inode);
    event->shrinks = shrinks;
    size_t keep = (size + SIM_BLOCK - 1) / SIM_BLOCK;
    for (size_t i = keep; shrinks && i < inode->block_count; i++) {
        disk->blocks_used -= inode->blocks[i];
        inode->blocks[i] = 0;
    }
}

/* The bytes [from, to) of `image` (whose byte 0 is the file's byte `from`) as the event leaves them. */
static void event_apply(const struct sim_event *event, unsigned char *image, size_t from, size_t to)
{
    if (event->data) {
        size_t first = event->foff > from ? event->foff : from;
        size_t end = event->foff + event->length < to ? event->foff + event->length : to;
        if (first < end)
            memcpy(image + (first - from), event->data + (first - event->foff), end - first);
    } else if (event->shrinks && event->size_after < to) {
        size_t first = event->size_after > from ? event->size_after : from;
        memset(image + (first - from), 0, to - first);
    }
}

void sim_data_sync(struct sim_inode *inode)
{
    if (!inode->event_count)
        return;
    size_t largest = inode->size > inode->disk_size ? inode->size : inode->disk_size;
    for (size_t i = 0; i < inode->event_count; i++)
        largest = inode->events[i].size_after > largest ? inode->events[i].size_after : largest;
    inode->disk = stretch(inode->disk, &inode->disk_capacity, inode->disk_size, largest);
    for (size_t i = 0; i < inode->event_count; i++)
        event_apply(&inode->events[i], inode->disk, 0, largest);
    inode->disk_size = inode->size;
    events_clear(inode);
}

static bool sector_touched(const struct sim_inode *inode, size_t events, size_t from, size_t to)
{
    for (size_t i = 0; i < events; i++) {
        const struct sim_event *event = &inode->events[i];
        if (event->data ? event->foff < to && event->foff + event->length > from
                        : event->shrinks && event->size_after < to)
            return true;
    }
    return false;
}

/* A moment in 0..end: the end with a chance of `percent`, else the start as likely as any. */
static size_t moment(struct sim_random *random, size_t end, unsigned percent)
{
    if (sim_random_chance(random, percent))
        return end;
    return sim_random_chance(random, 50) ? 0 : (size_t)sim_random_below(random, end + 1);
}

/* Decides what of the events is on the disk: the size of one moment, and each sector as of a moment of its own, but
 * with the truncations before the size's moment, and nothing written after the first truncation behind it. */
static void settle(struct sim_inode *inode, struct sim_random *random, unsigned percent)
{
    size_t count = inode->event_count;
    size_t size_at = moment(random, count, percent);
    size_t era_end = size_at;
    while (era_end < count && !inode->events[era_end].shrinks)
        era_end++;
    size_t size = size_at ? inode->events[size_at - 1].size_after : inode->disk_size;
    size_t largest = inode->disk_size;
    for (size_t i = 0; i < era_end; i++)
        largest = inode->events[i].size_after > largest ? inode->events[i].size_after : largest;
    inode->disk = stretch(inode->disk, &inode->disk_capacity, inode->disk_size, largest);
    for (size_t from = 0; from < largest; from += SIM_SECTOR) {
        size_t to = from + SIM_SECTOR < largest ? from + SIM_SECTOR : largest;
        if (!sector_touched(inode, era_end, from, to))
            continue;
        size_t at = moment(random, era_end, percent);
        for (size_t i = 0; i < (at > size_at ? at : size_at); i++)
            if (i < at || inode->events[i].shrinks)
                event_apply(&inode->events[i], inode->disk + from, from, to);
    }
    if (size > largest)
        abort();
    inode->disk_size = size;
    events_clear(inode);
}

void sim_data_sync_failed(struct sim_inode *inode, struct sim_random *random)
{
    settle(inode, random, (unsigned)sim_random_below(random, 2) * 50);
    inode->tainted = true;
}

void sim_data_power_cut(struct sim_inode *inode, struct sim_random *random)
{
    static const unsigned chances[] = {0, 10, 50, 90, 100};
    settle(inode, random, chances[sim_random_below(random, 5)]);
    free(inode->data);
    inode->data = copy_bytes(inode->disk, inode->disk_size);
    inode->size = inode->capacity = inode->disk_size;
    inode->tainted = false;
    size_t blocks = (inode->size + SIM_BLOCK - 1) / SIM_BLOCK;
    size_t capacity = inode->block_count;
    inode->blocks = stretch(inode->blocks, &capacity, inode->block_count, blocks);
    inode->block_count = blocks;
    if (blocks)
        memset(inode->blocks, 1, blocks);
}
