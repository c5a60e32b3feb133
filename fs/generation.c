#include "generation.h"

#include <errno.h>

/* With part->lock. */
static bool newest(const struct tfs_node *node)
{
    struct tlog_bounds bounds;

    tlog_partition_bounds(node->part->partition, &bounds);
    return node->base == bounds.start && !bounds.deleted;
}

/* With part->lock. A trim may come between the look at the start and the pin, which then fails. */
static int add(struct tfs_node *node, bool reads)
{
    struct tfs_generation *own = &node->current;
    int result = 0;

    if (!newest(node) && !own->unnamed)
        return -ESTALE;
    if (reads && own->readers == 0)
        result = tlog_partition_pin(node->part->partition, node->base, &own->pin);
    if (result == 0) {
        own->opens++;
        own->readers += reads;
    }
    return result;
}

int tfs_generation_open(struct tfs_node *node, bool reads)
{
    pthread_mutex_lock(&node->part->lock);
    int result = add(node, reads);
    pthread_mutex_unlock(&node->part->lock);
    return result;
}

void tfs_generation_close(struct tfs_node *node, bool reads)
{
    struct tfs_generation *own = &node->current;

    pthread_mutex_lock(&node->part->lock);
    own->opens--;
    if (reads && --own->readers == 0) {
        tlog_pin_release(&own->pin);
        own->pin = (struct tlog_pin){0};
    }
    pthread_mutex_unlock(&node->part->lock);
}

bool tfs_generation_left(struct tfs_node *node)
{
    pthread_mutex_lock(&node->part->lock);
    bool left = node->current.opens == 0 && !node->current.unnamed && !newest(node);
    pthread_mutex_unlock(&node->part->lock);
    return left;
}

void tfs_generation_unname(struct tfs_node *node)
{
    pthread_mutex_lock(&node->part->lock);
    if (!newest(node))
        node->current.unnamed = true;
    pthread_mutex_unlock(&node->part->lock);
}
