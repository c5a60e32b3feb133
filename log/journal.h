/* The journal: one fdatasync for all who wait, whatever their partitions. Format: topicfs-format(5).
 *
 * Files of a fixed size, written with zeros beforehand, used in turn. A record is numbered (lsn), checksummed
 * with the file's generation, and written to the page cache at once; tlog_journal_sync makes all written ones
 * durable, the first caller doing it for those that come meanwhile (group commit). What has become unnecessary,
 * because files hold it and are synced, is given back with tlog_journal_free.
 *
 * Any thread; locks itself, inside every partition's lock. */
#ifndef TLOG_JOURNAL_H
#define TLOG_JOURNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "log/io.h"
#include "log/topiclog.h"

enum tlog_journal_type {
    TLOG_JOURNAL_APPEND = 1, /* u64 first entry's pos, u32 entries, u32 0, the entries, their data */
    TLOG_JOURNAL_REST = 2,   /* u64 producer, u32 its number, u32 bytes of it before these, u64 the partition's
                                end, the bytes */
    TLOG_JOURNAL_DROP = 3,   /* u64 producer, u32 its number: this rest is no more */
    TLOG_JOURNAL_FILES = 4,  /* u64 segment's pos, u64 inode of its .log, u64 of its .idx: made in this boot */
    TLOG_JOURNAL_START = 5,  /* u64 pos, u64 seq: the partition was trimmed to there */
};

enum {
    TLOG_JOURNAL_HEADER_BYTES = 4096,
    TLOG_JOURNAL_RECORD_BYTES = 48, /* before the body */
    TLOG_JOURNAL_FILE_BYTES = 16 << 20,
};

/* What a record is about and, when reading, what it says. */
struct tlog_journal_record {
    enum tlog_journal_type type;
    uint8_t topic_id[16];
    uint32_t partition;
    uint64_t lsn;
    const uint8_t *body;
    uint32_t body_bytes;
};

struct tlog_journal_file {
    struct tlog_journal_file *next; /* in order of use; free ones after the current */
    int fd;
    unsigned name;       /* journal/NAME */
    uint64_t generation; /* 0: free */
    uint64_t bytes, used_bytes;
    uint64_t first_lsn, last_lsn; /* of its records */
    bool dirty;                   /* written since the last sync */
    bool replayed;                /* of an earlier run: only to be read, then freed */
};

struct tlog_journal {
    const struct tlog_io *io;
    char *path; /* the directory */
    uint8_t store_id[16];
    uint64_t file_bytes;
    bool looks; /* only to be read, nothing is changed */

    pthread_mutex_t lock;
    struct tlog_journal_file *files, *current; /* oldest use first */
    unsigned next_name;
    uint64_t generation, lsn; /* the highest given */
    bool syncing;
    _Atomic int failed;             /* -errno of the sync that failed */
    void (*on_failure)(void *arg);  /* called once then, without the lock */
    void (*on_pressure)(void *arg); /* called when space runs low; must only wake somebody */
    void *arg;
    struct tlog_waiter *queue, **queue_end;
    _Atomic uint64_t synced; /* all up to this lsn are durable; read without the lock */
    uint64_t syncs;
};

/* Opens the directory `path` (making it) and finds what earlier runs left: tlog_journal_replay reads it, and it
 * is kept until tlog_journal_free. `discard`: what is there is thrown away, it belongs to another store or to
 * files whose sync failed. A file is made and zero-written when none is free. */
int tlog_journal_open(struct tlog_journal *journal, const struct tlog_io *io, const char *path,
                      const uint8_t store_id[16], uint64_t file_bytes, bool discard, struct tlog_error *error);
/* Opens what is there to be replayed alone, without changing anything. */
int tlog_journal_look(struct tlog_journal *journal, const struct tlog_io *io, const char *path,
                      const uint8_t store_id[16]);
void tlog_journal_close(struct tlog_journal *journal);

/* Calls `each` for every intact record of earlier runs with an lsn of at least `from`, in their order, up to
 * the first that is missing or torn. */
int tlog_journal_replay(struct tlog_journal *journal, uint64_t from,
                        int (*each)(void *arg, const struct tlog_journal_record *record), void *arg);

/* Writes a record; `parts` are its body. *lsn gets its number (NULL: not wanted). -ENOSPC, -EIO, -EROFS after a
 * failed sync. */
int tlog_journal_write(struct tlog_journal *journal, enum tlog_journal_type type, const uint8_t topic_id[16],
                       uint32_t partition, const struct iovec *parts, int count, uint64_t *lsn);

/* Calls waiter->done once all records up to `lsn` are durable (0), or the sync failed (-EIO); see topiclog.h. */
void tlog_journal_sync(struct tlog_journal *journal, uint64_t lsn, struct tlog_waiter *waiter);

/* The lsn of the last record written. */
uint64_t tlog_journal_last(struct tlog_journal *journal);
static inline uint64_t tlog_journal_synced(struct tlog_journal *journal)
{
    return atomic_load_explicit(&journal->synced, memory_order_acquire);
}
/* Nothing below `lsn` is needed any more: files that hold only such records may be used again. All of
 * them must have been synced. */
void tlog_journal_free(struct tlog_journal *journal, uint64_t lsn);
/* Whether it wants tlog_journal_free soon: a file beyond the current one is in use, or this one half full. */
bool tlog_journal_pressed(struct tlog_journal *journal);
/* Makes everything written so far durable, waiting. */
int tlog_journal_sync_wait(struct tlog_journal *journal);
/* Makes sure that a free file stands ready, so that nobody waits for one to be zero-written. */
int tlog_journal_prepare(struct tlog_journal *journal);
/* Between journal.c and journal_files.c, with the lock. Makes a free file the current one. */
int tlog_journal_turn(struct tlog_journal *journal);
int tlog_journal_write_header(struct tlog_journal *journal, struct tlog_journal_file *file);

/* Throws all files away and makes one anew. Nothing in them may be needed, nobody may be writing. */
int tlog_journal_renew(struct tlog_journal *journal);
/* Sums over all files. */
void tlog_journal_usage(struct tlog_journal *journal, uint64_t *bytes, uint64_t *used_bytes);

#endif
