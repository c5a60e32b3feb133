/* A partition's insides, for the files of log/ that work on it: partition.c (opening, rolling, bounds),
 * append.c, writer.c, sync.c, read.c, recover.c, upkeep.c.
 *
 * Lock order: the store's admin lock → topic → partition's flush lock → partition's lock → journal, handles, dirty
 * list, the store's lock (which guards the table of topics alone, never any I/O). */
#ifndef TLOG_PARTITION_H
#define TLOG_PARTITION_H

#include <pthread.h>
#include <stdatomic.h>

#include "log/bytes.h"
#include "log/files.h"
#include "log/ground.h"
#include "log/index.h"
#include "log/scan.h"
#include "log/topiclog.h"

enum {
    TLOG_ENTRY_CLOSE_BYTES = 4096,
    TLOG_SEGMENT_INDEX_BYTES = 64 << 20, /* a segment ends there too: what sealing keeps in memory is bounded by it */
    TLOG_ENTRY_CLOSE_NS = 100000000,
    TLOG_JOURNAL_APPEND_MOST = 256 << 10, /* larger durable appends sync the files instead */
};

/* What partitions know of their topic: the first member of struct tlog_topic. */
struct tlog_topic_head {
    struct tlog_ground *ground;
    atomic_int refs;
    void (*free)(struct tlog_topic_head *head); /* the last reference has gone */
    uint8_t id[16];
    _Atomic int64_t values[TLOG_KEYS]; /* in force */
    atomic_bool unlisted;              /* its directory entry was not synced */
    _Atomic int64_t retention_from_ns; /* CLOCK_BOOTTIME before which nothing is deleted by retention */

    pthread_mutex_t lock; /* guards these; the name also needs every partition's lock to change */
    char name[256];
    struct tlog_attr attr;
};

static inline int64_t tlog_value(const struct tlog_topic_head *topic, enum tlog_key key)
{
    return atomic_load_explicit(&topic->values[key], memory_order_relaxed);
}
void tlog_topic_head_unref(struct tlog_topic_head *topic);
/* "STORE/topics/NAME" with the lock of the topic or of one of its partitions held. */
void tlog_topic_dir(const struct tlog_topic_head *topic, char to[TLOG_NAME_BYTES]);

/* The forms that a segment's bytes are there in: POS.log with POS.idx, or one POS.zst. While it has both, the raw files
 * are what is read. The active segment is raw. */
enum { TLOG_RAW = 1, TLOG_SEALED = 2 };

struct tlog_segment {
    uint64_t pos, seq; /* its first; seq 0 with another pos: not known yet, tlog_segment_seq tells */
    struct tlog_handle *handle;
    unsigned forms;
    bool spoilt; /* its data or index is damaged, or cannot be read: it is not sealed in this run */
    uint64_t raw_disk_bytes, sealed_disk_bytes; /* of its files; the active one's are not counted here */
    uint64_t sealed_file_bytes;                 /* of the .zst, when there */
    int64_t sealed_mtime_ns;
    int64_t trimmed_ns; /* CLOCK_BOOTTIME when it was trimmed; 0: it was not */
    int64_t last_ns;    /* the time of its last entry, once retention has looked; 0: not known */
};

/* The entry that still grows: its bytes are in the .log, it is not yet in the .idx. */
struct tlog_open_entry {
    XXH3_state_t hash; /* of the data so far, seeded with the chain before */
    struct tlog_entry entry;
    int64_t opened_ns; /* CLOCK_BOOTTIME */
};

/* "All up to this pos was in the journal at this lsn." */
struct tlog_journal_mark {
    uint64_t lsn, pos;
};

struct tlog_partition {
    struct tlog_ground *ground;
    struct tlog_topic_head *topic;
    uint32_t number;
    uint64_t log; /* its number among the frames' keys */
    atomic_int refs;
    void *user;
    atomic_int watched;
    _Atomic uint64_t committed;
    _Atomic int64_t
        throttled_ns; /* CLOCK_BOOTTIME at which quota.bytes.per.second has a whole second's worth, less one */

    pthread_mutex_t flush_lock; /* one flush at a time */
    pthread_mutex_t lock;       /* guards all below */

    struct tlog_segment *segments; /* oldest first, the last is the active one; at least one once opened */
    unsigned segment_count;
    uint64_t start, start_seq;           /* of the oldest record kept; segments below it are there for pins alone */
    uint64_t start_next, start_next_seq; /* what a trim under way raises it to: the checkpoint says it already */
    struct tlog_pin *pins;
    struct tlog_point closed;     /* after the last entry in the index */
    uint64_t idx_bytes;           /* of the active segment's index */
    struct tlog_open_entry *open; /* NULL: never needed since it was idle; length 0: none open */
    uint64_t end, end_seq;
    int64_t last_append_ns;     /* CLOCK_REALTIME as the log counts it, never decreasing */
    int64_t segment_first_ns;   /* the first append to the active segment; 0: none */
    int64_t changed_ns;         /* ctime */
    uint64_t closed_disk_bytes; /* of all segments but the active one */
    uint64_t sealed_bytes;      /* of the log in sealed segments, while start was sealed_start; see below */
    uint64_t sealed_start;      /* UINT64_MAX: to be added up anew */

    uint64_t claimed; /* damaged: what the checkpoint goes on calling synced, so that every start finds the damage */

    /* Durability. synced <= durable <= end. */
    uint64_t synced;                   /* below it the files are synced */
    uint64_t durable;                  /* below it synced files or the journal hold everything */
    uint64_t journaled;                /* below it the journal has been written, if not synced */
    uint64_t journaled_foff;           /* the same in the active segment's index; 0: not known */
    struct tlog_journal_mark marks[2]; /* older first; lsn 0: none */
    uint64_t first_lsn, later_lsn;     /* the oldest journal record needed; written during a flush */
    uint64_t rest_lsn;                 /* of the last record about an unfinished line */
    bool flushing;
    bool inherited;                /* what lies past `synced` was written by an earlier run: sync it all */
    bool urgent;                   /* flush.bytes are waiting: upkeep was told */
    uint64_t log_inode, idx_inode; /* of the active segment */
    bool unlisted;                 /* its directory's own entry, or its topic's, was not synced */
    bool files_unlisted;           /* its segments' entries were not synced */
    int sync_error;                /* a sync of its files failed: nothing is accepted any more */
    bool failure_told;             /* and that stands on disk */

    /* Unfinished lines. */
    struct tlog_writer *writers; /* those that hold one, in the order they began */
    uint64_t pending;            /* their bytes */
    uint32_t pending_count;
    uint32_t next_rest;                  /* producer_seq of the next one */
    uint64_t reserved_log, reserved_idx; /* foff up to which disk space was taken for them */

    struct tlog_attr attr;
    bool attr_own;          /* has a file of its own; otherwise the topic's hold */
    int64_t set_mtime_ns;   /* from set_mtime, while end == set_mtime_end */
    uint64_t set_mtime_end; /* UINT64_MAX: none */
    bool damaged, deleted;
    char *trash; /* its directory there, once deleted with records */

    bool queued;                       /* upkeep looks after it, and holds a reference */
    bool resting, idle;                /* when it looked last: no entry was open, nothing was to be flushed */
    int64_t dirty_since_ns;            /* CLOCK_BOOTTIME */
    struct tlog_partition *next_dirty; /* the store's dirty lock guards it; upkeep's own once it took it over */
};

struct tlog_writer {
    struct tlog_partition *partition;
    struct tlog_writer *next, **link; /* in partition->writers while it holds something */
    char *held;
    size_t held_bytes, capacity;
    uint32_t producer_seq; /* which entry will end this rest: (the store's producer, this) */
    uint64_t first_lsn;    /* the journal's first record about it */
    bool closed;           /* its close could not append it: to be tried again */
};

/* "STORE/topics/TOPIC/NUMBER", with the partition's or the topic's lock held. */
void tlog_partition_dir(const struct tlog_partition *p, char to[TLOG_NAME_BYTES]);
/* "…/NUMBER/POS", without .log or .idx. */
void tlog_segment_path(const struct tlog_partition *p, uint64_t pos, char to[TLOG_NAME_BYTES]);

/* The journal's record `lsn` is needed until the files are synced next. With the lock. */
static inline void tlog_partition_needs(struct tlog_partition *p, uint64_t lsn)
{
    if (lsn == 0) /* none */
        return;
    if (p->first_lsn == 0 || lsn < p->first_lsn)
        p->first_lsn = lsn;
    if (p->flushing && (p->later_lsn == 0 || lsn < p->later_lsn))
        p->later_lsn = lsn;
}
/* Takes over what recovery found: the active segment's end. With its lock. */
void tlog_partition_stand(struct tlog_partition *p, const struct tlog_point *at, uint64_t idx_bytes);
/* A partition in memory, with no segment yet. */
int tlog_partition_new(struct tlog_partition **out, struct tlog_topic_head *topic, uint32_t number);
/* Closes its files and frees it, whatever the references. */
void tlog_partition_free(struct tlog_partition *p);
/* Gives back the reference that the topic's table holds. */
void tlog_partition_put(struct tlog_partition *p);
/* Makes its directory and first segment, starting at `start`. */
int tlog_partition_make(struct tlog_partition *p, const struct tlog_point *start);
/* Gives it an attr file of its own if it inherits: the topic's is about to change. With the topic's lock. */
int tlog_partition_keep_attr(struct tlog_partition *p);

/* The first entry that does not end before `value`, or that is not of a time before it; length 0: there is none. Without
 * the lock. */
int tlog_partition_find_entry(struct tlog_partition *p, enum tlog_by by, uint64_t value, struct tlog_entry *out);
/* Takes the lock to append, once no cut is under way. */
void tlog_append_lock(struct tlog_partition *p);

/* The rest expects the lock to be held, unless said otherwise. */

/* How many bytes of the log, from the start on, are in sealed segments. */
uint64_t tlog_partition_sealed_bytes(struct tlog_partition *p);
/* What the active segment takes on disk. */
uint64_t tlog_active_disk_bytes(const struct tlog_partition *p);
/* The open files of segment number i, in the form that is read. Files are opened with the lock held, sealed ones too:
 * whoever can do without it holds a segment instead, see below. */
int tlog_segment_open(struct tlog_partition *p, unsigned i, struct tlog_handle **out);
static inline int tlog_active_open(struct tlog_partition *p, struct tlog_handle **out)
{
    return tlog_segment_open(p, p->segment_count - 1, out);
}
static inline struct tlog_segment *tlog_active(struct tlog_partition *p)
{
    return &p->segments[p->segment_count - 1];
}
/* The number of the segment that holds pos (the last one for the end). pos >= segments[0].pos. */
unsigned tlog_segment_find(const struct tlog_partition *p, uint64_t pos);
/* Adds a segment after the last; what its files take is told by tlog_segment_form. */
int tlog_segment_add(struct tlog_partition *p, uint64_t pos, uint64_t seq, unsigned forms);
/* A form of segment i, which is not the active one, is there (`st`: of the .zst, or what the raw files take together) or
 * is not there any more (NULL: what is open of it is closed). */
void tlog_segment_form(struct tlog_partition *p, unsigned i, unsigned form, const struct tlog_io_stat *st);
/* The number of the segment that begins at the start. */
static inline unsigned tlog_segment_first(const struct tlog_partition *p)
{
    return tlog_segment_find(p, p->start);
}
/* A hash of the positions of the segments in [from, to]: a start that finds the same needs no look for missing ones. */
uint64_t tlog_segments_hash(const struct tlog_partition *p, uint64_t from, uint64_t to);
/* Takes the `count` oldest segments out of memory; their files stay. */
void tlog_segments_forget(struct tlog_partition *p, unsigned count);
/* Removes a segment's files, in an order that leaves a whole form or a lone index if it is cut short. */
int tlog_segment_unlink(struct tlog_partition *p, uint64_t pos);

/* Without the lock: a segment that is held, so that its files can be read without it. */
struct tlog_held {
    struct tlog_handle *handle; /* a reference; NULL: the pos asked for is the end */
    uint64_t pos, end;          /* of the segment, or of the log in the active one */
    uint64_t idx_bytes;         /* of the active one's index that count; 0: all of the file */
};
/* Holds the segment that has pos. -ESTALE below the oldest; -EIO its files are missing or damaged, which has been told. */
int tlog_segment_hold(struct tlog_partition *p, uint64_t pos, struct tlog_held *held);
/* The same for the one that begins at pos, be it empty. -ESTALE there is none. */
int tlog_segment_hold_exactly(struct tlog_partition *p, uint64_t pos, struct tlog_held *held);
/* The header of a held segment, from whichever form. */
int tlog_held_header(const struct tlog_held *held, struct tlog_index_header *out);
/* A scan over the closed entries of a held raw segment. */
int tlog_held_scan(const struct tlog_held *held, struct tlog_scan *scan);
/* The number of the first record of the segment that begins at pos; reads its header if it has to. -ESTALE it is gone. */
int tlog_segment_seq(struct tlog_partition *p, uint64_t pos, uint64_t *seq);
/* Tells damage in the sealed segment at pos. */
void tlog_segment_damage(struct tlog_partition *p, uint64_t pos, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A file to be read by tlog_segment_file_read. Takes the descriptor, also when it fails. */
int tlog_segment_file_new(struct tlog_segment_file **out, const struct tlog_io *io, int fd);

/* The rest expects the lock to be held again. */

/* Makes the files of a segment that starts at p->closed and adds it. */
int tlog_segment_make(struct tlog_partition *p);
/* Closes the active segment and makes the next one. An error after which the partition is as it was, or that of taking
 * space for unfinished lines in the new one. */
int tlog_segment_roll(struct tlog_partition *p);
/* Whether writes are refused, and why: 0, -ESTALE, -EROFS. */
int tlog_partition_refuses(const struct tlog_partition *p);
/* An fsync failed: read-only from now on, marked so on disk for the restart. */
void tlog_partition_fail(struct tlog_partition *p, int error);
/* Puts it on the list of what upkeep looks after. */
void tlog_partition_dirtied(struct tlog_partition *p);
/* What one append brings. */
struct tlog_append {
    const struct iovec *parts;
    int count;
    uint64_t bytes;
    uint32_t records;
    uint64_t producer; /* with producer_seq != 0: it ends this rest */
    uint32_t producer_seq;
    bool own_entry; /* indexed before it is answered, alone in its entry */
    bool no_roll;   /* stays in the active segment */
};
int tlog_append_locked(struct tlog_partition *p, const struct tlog_append *append);
/* Writes the open entry, if there is one, to the index. */
int tlog_entry_close(struct tlog_partition *p);
/* In a store that is only looked at: what lies between `from` and the end counts as the open entry. */
int tlog_entry_pretend(struct tlog_partition *p, const struct tlog_point *from);
/* Takes disk space so that `bytes` more, then all unfinished lines (`pending` bytes of `count`), will fit. */
int tlog_reserve(struct tlog_partition *p, uint64_t bytes, uint64_t pending, uint32_t count);
/* Gives back the space past the end that no unfinished line needs any more. */
void tlog_reserve_release(struct tlog_partition *p);

/* Tries again to append the rests whose close could not. */
void tlog_writers_retry(struct tlog_partition *p);
/* Writes all rests whose records are older than `lsn` to the journal again. */
int tlog_writers_carry(struct tlog_partition *p, uint64_t lsn);
/* Ends all rests as lines: the partition is going away. */
void tlog_writers_end(struct tlog_partition *p);

/* Syncs the files up to the end as it is now, without the lock. 0 or -EIO (now failed), -ENOSPC. */
int tlog_partition_flush(struct tlog_partition *p);
/* Syncs its directory, without the lock. -ESTALE: deleted. */
int tlog_partition_sync_dir(struct tlog_partition *p);
/* Syncs the directory entries that a durable answer depends on, without the lock. */
int tlog_partition_list(struct tlog_partition *p);
/* Raises `durable` to what the journal is known to have synced. */
void tlog_marks_settle(struct tlog_partition *p);

#endif
