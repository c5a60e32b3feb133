/* Decompressed frames of sealed segments, for the whole store: bounded, shared by all readers, with read-ahead.
 *
 * A frame is known by its log (a number that a partition gets when it comes into being in memory, never given again in
 * this run), its segment's pos and its number in there; what stands there never changes, so a frame found is good
 * whatever became of the file that it came from. Two readers of one frame decompress it once: the second waits. One
 * that turns out to be corrupt is never kept. At most TLOG_FRAMES_KEPT are kept, those not used for longest leave
 * first. More exist only while readers hold that many at once; from TLOG_FRAMES_MOST on a reader waits for others to
 * give theirs back, but no longer than a moment, since they may be waiting for him.
 *
 * Read-ahead is a thread that begins when first asked for something, unless there is to be none.
 *
 * Any thread. The cache's lock is the innermost, and not held while anything is read or decompressed. */
#ifndef TLOG_FRAMES_H
#define TLOG_FRAMES_H

#include "log/handle.h"

enum {
    TLOG_FRAMES_KEPT = 16,  /* of TLOG_FRAME_BYTES: 4 MiB */
    TLOG_FRAMES_MOST = 48,  /* 12 MiB */
    TLOG_FRAMES_LOADED = 6, /* decompressed at a time: each takes another half MiB */
    TLOG_FRAMES_AHEAD = 4,  /* decompressed before a sequential reader comes to them */
    TLOG_FRAMES_ORDERS = 8, /* readers for whom that is done at a time */
};

struct tlog_frame_key {
    uint64_t log, segment_pos;
    uint32_t number;
};

struct tlog_frame {
    struct tlog_hold hold; /* a reader's reference: tlog_frame_release gives it back */
    struct tlog_frames *cache;
    const uint8_t *data; /* bytes of it: constant once ready */
    size_t bytes;

    /* The cache's lock guards all below. */
    struct tlog_frame_key key;
    unsigned refs;
    enum { TLOG_FRAME_LOADING, TLOG_FRAME_READY, TLOG_FRAME_FAILED } state;
    int error;                          /* why it failed */
    bool kept;                          /* is in the list, to be found */
    bool fresh;                         /* was read ahead, and nobody came yet */
    struct tlog_frame *next, *previous; /* the least recently used first */
};

/* Frames first up to end, exclusively, of a segment are to be read ahead. */
struct tlog_frame_order {
    struct tlog_handle *handle; /* a reference */
    struct tlog_frame_key key;  /* of the next one */
    uint32_t end;
};

struct tlog_frames {
    unsigned max;
    bool threaded; /* read-ahead is done */

    pthread_mutex_t lock;    /* guards all below */
    pthread_cond_t loaded;   /* a frame is ready, or failed */
    pthread_cond_t returned; /* one can be taken */
    struct tlog_frame list;
    unsigned count;               /* in the list */
    unsigned existing;            /* in memory */
    unsigned loading;             /* by how many threads now */
    uint64_t found, decompressed; /* so far */

    struct tlog_frame_order orders[TLOG_FRAMES_ORDERS]; /* oldest first */
    unsigned order_count;
    pthread_cond_t wake;
    pthread_t thread;
    bool runs, stopping;
};

void tlog_frames_init(struct tlog_frames *cache, unsigned max, bool threaded);
/* All frames must have been given back. */
void tlog_frames_release(struct tlog_frames *cache);
/* Ends the read-ahead, and gives back the handles that it holds; it does not begin anew. */
void tlog_frames_stop(struct tlog_frames *cache);

/* A reference to a frame of an open sealed file. -EBADMSG it is corrupt (or there is none of that number), -EIO,
 * -ENOMEM. */
int tlog_frames_get(struct tlog_frames *cache, const struct tlog_handle *handle, const struct tlog_frame_key *key,
                    struct tlog_frame **out);
void tlog_frame_release(struct tlog_frame *frame);
/* The frames from `key` on, up to number `end` exclusively, will be wanted soon. */
void tlog_frames_ahead(struct tlog_frames *cache, struct tlog_handle *handle, const struct tlog_frame_key *key,
                       uint32_t end);

struct tlog_frames_status {
    unsigned frames; /* in memory */
    uint64_t found, decompressed;
};
void tlog_frames_status(struct tlog_frames *cache, struct tlog_frames_status *out);

#endif
