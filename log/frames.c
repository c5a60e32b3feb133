#include "log/frames.h"

#include <errno.h>
#include <stdlib.h>

#include "log/lock.h"

/* ---- the list, with the lock ---- */

static bool same_segment(const struct tlog_frame_key *a, const struct tlog_frame_key *b)
{
    return a->log == b->log && a->segment_pos == b->segment_pos;
}

static struct tlog_frame *find(struct tlog_frames *cache, const struct tlog_frame_key *key)
{
    for (struct tlog_frame *f = cache->list.previous; f != &cache->list; f = f->previous)
        if (f->key.number == key->number && same_segment(&f->key, key))
            return f;
    return NULL;
}

static void keep(struct tlog_frames *cache, struct tlog_frame *frame)
{
    frame->next = &cache->list;
    frame->previous = cache->list.previous;
    frame->previous->next = frame;
    cache->list.previous = frame;
    frame->kept = true;
    cache->count++;
}

static void leave(struct tlog_frames *cache, struct tlog_frame *frame)
{
    frame->next->previous = frame->previous;
    frame->previous->next = frame->next;
    frame->kept = false;
    cache->count--;
}

/* Takes the least recently used frame that nobody holds out of the list, one that was read ahead in vain last (or not at
 * all, unless `fresh_too`); NULL when there is none. */
static struct tlog_frame *take_oldest(struct tlog_frames *cache, bool fresh_too)
{
    struct tlog_frame *fresh = NULL;
    for (struct tlog_frame *f = cache->list.next; f != &cache->list; f = f->next) {
        if (f->refs == 0 && !f->fresh) {
            leave(cache, f);
            return f;
        }
        if (f->refs == 0 && !fresh)
            fresh = f;
    }
    if (!fresh || !fresh_too)
        return NULL;
    leave(cache, fresh);
    return fresh;
}

static void frame_free(struct tlog_frames *cache, struct tlog_frame *frame)
{
    cache->existing--;
    free((void *)(uintptr_t)frame->data);
    free(frame);
}

static void unref(struct tlog_frames *cache, struct tlog_frame *frame)
{
    if (--frame->refs > 0)
        return;
    if (cache->existing >= TLOG_FRAMES_MOST)
        pthread_cond_broadcast(&cache->returned);
    if (frame->kept && cache->count > cache->max)
        leave(cache, frame);
    if (!frame->kept)
        frame_free(cache, frame);
}

static void release_hold(struct tlog_hold *hold)
{
    tlog_frame_release((struct tlog_frame *)(void *)hold);
}

/* A frame in the list that is being loaded, with a reference, in the memory of the one that leaves for it. `ahead`: only
 * when room can be had without taking what was read ahead for others. NULL: no room, no memory. */
static struct tlog_frame *frame_new(struct tlog_frames *cache, const struct tlog_frame_key *key, bool ahead)
{
    struct tlog_frame *frame = cache->count < cache->max ? NULL : take_oldest(cache, !ahead);
    if (!frame && ahead && cache->count >= cache->max)
        return NULL;
    if (!frame) {
        frame = calloc(1, sizeof *frame);
        void *data = malloc(TLOG_FRAME_BYTES);
        if (!frame || !data) {
            free(frame);
            free(data);
            return NULL;
        }
        frame->hold.release = release_hold;
        frame->cache = cache;
        frame->data = data;
        cache->existing++;
    }
    frame->key = *key;
    frame->refs = 1;
    frame->state = TLOG_FRAME_LOADING;
    frame->fresh = ahead;
    keep(cache, frame);
    return frame;
}

/* Decompresses it, without the lock meanwhile. A failed one leaves the list. */
static int load(struct tlog_frames *cache, struct tlog_frame *frame, const struct tlog_handle *handle)
{
    while (cache->loading >= TLOG_FRAMES_LOADED) /* none of them waits for anything but its disk */
        pthread_cond_wait(&cache->loaded, &cache->lock);
    cache->loading++;
    pthread_mutex_unlock(&cache->lock);
    frame->bytes = tlog_sealed_frame_bytes(handle->sealed, frame->key.number);
    int r = tlog_sealed_frame(handle->sealed, frame->key.number, (void *)(uintptr_t)frame->data);
    pthread_mutex_lock(&cache->lock);
    frame->state = r < 0 ? TLOG_FRAME_FAILED : TLOG_FRAME_READY;
    frame->error = r;
    if (r < 0)
        leave(cache, frame);
    cache->decompressed++;
    cache->loading--;
    pthread_cond_broadcast(&cache->loaded);
    return r;
}

/* ---- for readers ---- */

static const int64_t crowded_wait_ns = 20000000;

/* As many exist as may, and all of them are held. */
static bool is_crowded(const struct tlog_frames *cache)
{
    if (cache->existing < TLOG_FRAMES_MOST)
        return false;
    for (const struct tlog_frame *f = cache->list.next; f != &cache->list; f = f->next)
        if (f->refs == 0)
            return false;
    return true;
}

int tlog_frames_get(struct tlog_frames *cache, const struct tlog_handle *handle, const struct tlog_frame_key *key,
                    struct tlog_frame **out)
{
    if (key->number >= handle->sealed->frames)
        return -EBADMSG;
    pthread_mutex_lock(&cache->lock);
    int r = 0;
    struct tlog_frame *frame = find(cache, key);
    if (!frame && is_crowded(cache)) {
        (void)tlog_cond_wait(&cache->returned, &cache->lock, crowded_wait_ns);
        frame = find(cache, key);
    }
    if (frame) {
        frame->refs++;
        frame->fresh = false;
        leave(cache, frame); /* to the young end */
        keep(cache, frame);
        cache->found++;
        while (frame->state == TLOG_FRAME_LOADING)
            pthread_cond_wait(&cache->loaded, &cache->lock);
        r = frame->state == TLOG_FRAME_FAILED ? frame->error : 0;
    } else {
        frame = frame_new(cache, key, false);
        r = frame ? load(cache, frame, handle) : -ENOMEM;
    }
    if (r < 0 && frame)
        unref(cache, frame);
    pthread_mutex_unlock(&cache->lock);
    *out = r < 0 ? NULL : frame;
    return r;
}

void tlog_frame_release(struct tlog_frame *frame)
{
    struct tlog_frames *cache = frame->cache;
    pthread_mutex_lock(&cache->lock);
    unref(cache, frame);
    pthread_mutex_unlock(&cache->lock);
}

/* ---- read-ahead ---- */

/* The order leaves the queue; its handle is the caller's to give back, without the lock. */
static struct tlog_handle *drop_order(struct tlog_frames *cache, unsigned i)
{
    struct tlog_handle *handle = cache->orders[i].handle;
    cache->order_count--;
    for (; i < cache->order_count; i++)
        cache->orders[i] = cache->orders[i + 1];
    return handle;
}

/* Loads the next frame of the oldest order, which then goes to the end of the queue: no reader waits for another's whole
 * order. With the lock, which is given up meanwhile. */
static void serve_order(struct tlog_frames *cache)
{
    struct tlog_frame_order order = cache->orders[0];
    bool full = false;
    struct tlog_handle *handle = drop_order(cache, 0);
    while (order.key.number < order.end && find(cache, &order.key))
        order.key.number++;
    if (order.key.number < order.end) {
        struct tlog_frame *frame = frame_new(cache, &order.key, true);
        full = !frame;
        if (frame) {
            (void)load(cache, frame, handle); /* whoever wants it will learn of a failure for himself */
            unref(cache, frame);
        }
        order.key.number++;
    }
    if (!full && order.key.number < order.end && cache->order_count < TLOG_FRAMES_ORDERS && !cache->stopping) {
        cache->orders[cache->order_count++] = order;
        return;
    }
    pthread_mutex_unlock(&cache->lock);
    tlog_handle_unref(handle);
    pthread_mutex_lock(&cache->lock);
}

static void *run(void *arg)
{
    struct tlog_frames *cache = arg;
    pthread_mutex_lock(&cache->lock);
    while (!cache->stopping) {
        if (cache->order_count > 0)
            serve_order(cache);
        else
            pthread_cond_wait(&cache->wake, &cache->lock);
    }
    pthread_mutex_unlock(&cache->lock);
    return NULL;
}

/* Puts an order into the queue, or more into one of the same reader. Returns a handle to be given back, or NULL. */
static struct tlog_handle *put_order(struct tlog_frames *cache, const struct tlog_frame_order *order)
{
    for (unsigned i = 0; i < cache->order_count; i++) {
        struct tlog_frame_order *other = &cache->orders[i];
        if (same_segment(&other->key, &order->key) && order->key.number <= other->end &&
            other->key.number <= order->end) {
            if (other->key.number < order->key.number)
                other->key.number = order->key.number; /* the reader has gone on */
            if (other->end < order->end)
                other->end = order->end;
            return order->handle;
        }
    }
    if (cache->order_count == TLOG_FRAMES_ORDERS)
        return order->handle;
    cache->orders[cache->order_count++] = *order;
    pthread_cond_signal(&cache->wake);
    return NULL;
}

void tlog_frames_ahead(struct tlog_frames *cache, struct tlog_handle *handle, const struct tlog_frame_key *key,
                       uint32_t end)
{
    struct tlog_frame_order order = {handle, *key, end < handle->sealed->frames ? end : handle->sealed->frames};
    struct tlog_handle *left = NULL;
    if (!cache->threaded)
        return;
    pthread_mutex_lock(&cache->lock);
    while (order.key.number < order.end && find(cache, &order.key))
        order.key.number++;
    if (order.key.number < order.end && !cache->stopping) {
        if (!cache->runs)
            cache->runs = pthread_create(&cache->thread, NULL, run, cache) == 0;
        tlog_handle_ref(handle);
        left = cache->runs ? put_order(cache, &order) : handle;
    }
    pthread_mutex_unlock(&cache->lock);
    if (left)
        tlog_handle_unref(left);
}

/* ---- life ---- */

void tlog_frames_init(struct tlog_frames *cache, unsigned max, bool threaded)
{
    *cache = (struct tlog_frames){.max = max, .threaded = threaded};
    cache->list.next = cache->list.previous = &cache->list;
    pthread_mutex_init(&cache->lock, NULL);
    pthread_cond_init(&cache->loaded, NULL);
    tlog_cond_init(&cache->returned);
    pthread_cond_init(&cache->wake, NULL);
}

void tlog_frames_stop(struct tlog_frames *cache)
{
    pthread_mutex_lock(&cache->lock);
    cache->stopping = true;
    pthread_cond_signal(&cache->wake);
    bool runs = cache->runs;
    cache->runs = false;
    pthread_mutex_unlock(&cache->lock);
    if (runs)
        pthread_join(cache->thread, NULL);
    while (cache->order_count > 0)
        tlog_handle_unref(drop_order(cache, 0));
}

void tlog_frames_release(struct tlog_frames *cache)
{
    tlog_frames_stop(cache);
    for (struct tlog_frame *f = cache->list.next, *next; f != &cache->list; f = next) {
        next = f->next;
        frame_free(cache, f);
    }
    pthread_mutex_destroy(&cache->lock);
    pthread_cond_destroy(&cache->loaded);
    pthread_cond_destroy(&cache->returned);
    pthread_cond_destroy(&cache->wake);
}

void tlog_frames_status(struct tlog_frames *cache, struct tlog_frames_status *out)
{
    pthread_mutex_lock(&cache->lock);
    *out = (struct tlog_frames_status){cache->existing, cache->found, cache->decompressed};
    pthread_mutex_unlock(&cache->lock);
}
