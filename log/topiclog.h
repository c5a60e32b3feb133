/* libtopiclog: a store of topics, each of partitions, each a segmented append-only log of records.
 *
 * This is the library's public header, all that fs/ and tools/ may include. The files it writes are described
 * in topicfs-format(5).
 *
 * Coordinates, never mixed: seq (record number in a partition, from 0), pos (logical byte in a partition, from
 * 0, for ever), foff (byte in one segment file). Sizes are bytes, times are nanoseconds of CLOCK_REALTIME,
 * unless a name says otherwise.
 *
 * Calls return 0 (or a count) or -errno; -EBADMSG is damage, -ESTALE something that is no longer there. A
 * failed call leaves the state as it was. Calls that a person starts also fill a struct tlog_error, which may
 * be NULL.
 *
 * Threads: everything may be called from any thread at any time, except that a store is opened, closed and
 * its pieces' last references dropped by one thread. Pointers passed in are borrowed until the call returns.
 * Callbacks run with none of the library's locks held; they must not block. */
#ifndef TOPICLOG_H
#define TOPICLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct tlog_io;
struct tlog_store;
struct tlog_topic;
struct tlog_partition;
struct tlog_writer;

struct tlog_error {
    char text[512]; /* a sentence without full stop, the outermost subject first; empty when none was given */
};

/* ---- topic keys ------------------------------------------------------------------------------------- */

/* The keys of .config, with Kafka's names where Kafka has one. Values are int64_t: bytes, milliseconds,
 * counts, 0/1, or the number of a choice in the order its words are documented. -1: without limit. */
enum tlog_key {
    TLOG_PARTITIONS,        /* partitions: how many a new topic gets, 1..partitions.max; 1 */
    TLOG_PARTITIONS_MAX,    /* partitions.max: 1..100000; 1024 */
    TLOG_SEGMENT_BYTES,     /* segment.bytes: 1 KiB..1 TiB; 256 MiB */
    TLOG_SEGMENT_MS,        /* segment.ms: 1 s.. or -1; 7 d */
    TLOG_MAX_MESSAGE_BYTES, /* max.message.bytes: 1 B..256 MiB, the newline counted; 1 MiB */
    TLOG_MESSAGE_FORMAT,    /* message.format: lines, raw; lines */
    TLOG_FLUSH_MS,          /* flush.ms: 100 ms..; 5 s */
    TLOG_FLUSH_BYTES,       /* flush.bytes: 64 KiB..; 64 MiB */
    TLOG_QUOTA_BYTES,       /* quota.bytes of each partition: 0.. or -1; -1 */
    TLOG_OPEN_TRUNCATE,     /* open.truncate: append, refuse; append */
    TLOG_DELETE_ENABLE,     /* delete.enable: false, true; false */
    TLOG_RETENTION_MS,      /* retention.ms: 1 s.. or -1; -1 */
    TLOG_RETENTION_BYTES,   /* retention.bytes of each partition's log: 0.. or -1; -1 */
    TLOG_CLEANUP_POLICY,    /* cleanup.policy: delete; delete */
    TLOG_COMPRESSION_TYPE,  /* compression.type: zstd, none; zstd */
    TLOG_COMPRESSION_LEVEL, /* compression.level: 1..19; 1 */
    TLOG_SEAL_LINGER_MS,    /* seal.linger.ms: 0..; 1 h */
    TLOG_PIN_BYTES,         /* pin.bytes of each partition: 0..; 1 GiB */
    TLOG_PIN_MS,            /* pin.ms: 0..; 1 h */
    TLOG_TRASH_MS,          /* trash.retention.ms: 0.. or -1; 1 d */
    TLOG_QUOTA_RATE,        /* quota.bytes.per.second of each partition: 1.. or -1; -1 */
    TLOG_KEYS,
};
enum { TLOG_FORMAT_LINES, TLOG_FORMAT_RAW };
enum { TLOG_TRUNCATE_APPEND, TLOG_TRUNCATE_REFUSE };
enum { TLOG_COMPRESSION_ZSTD, TLOG_COMPRESSION_NONE };

/* The name of a key, a static string; NULL past the last. */
const char *tlog_key_name(enum tlog_key key);
/* The value as it would be written in a .config ("64MiB", "7d", "raw"), into `to`. Returns `to`. */
char *tlog_key_format(enum tlog_key key, int64_t value, char to[32]);

/* The value of a key that nobody set. */
int64_t tlog_key_default(enum tlog_key key);
/* The value that the text of a .config gives to a key: 1; 0 when it has none for it (then it is inherited);
 * -EINVAL when the text cannot be applied. */
int tlog_config_value(const char *text, enum tlog_key key, int64_t *value);

/* ---- the store -------------------------------------------------------------------------------------- */

struct tlog_options {
    const struct tlog_io *io; /* NULL: Linux's system calls; must outlive the store */
    bool create;              /* make a store in a directory that is missing or empty */
    bool read_only;           /* writes nothing, recovers nothing, takes no lock: what is there is shown */
    bool no_upkeep;           /* no thread of its own: the caller calls tlog_store_upkeep */
    unsigned max_files;       /* descriptors it may hold; 0: what RLIMIT_NOFILE allows, less 128 */
    uint64_t journal_bytes;   /* of one journal file, rounded up to what it needs; 0: the default */
    /* Told in words what recovery found and did, a line a call. May be NULL. */
    void (*note)(void *arg, const char *line);
    /* Recovery's progress in bytes, called now and then. May be NULL. */
    void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
    /* A watched partition (tlog_partition_watch) has grown or changed. Called by the appending thread. */
    void (*grown)(void *arg, struct tlog_partition *partition);
    /* The start of a partition, watched or not, has risen. Called by the trimming thread. */
    void (*trimmed)(void *arg, struct tlog_partition *partition);
    void *arg;
};

/* Counts of what recovery did when the store was opened. */
struct tlog_recovery {
    uint64_t partitions;      /* in the store */
    uint64_t cut_bytes;       /* cut from torn tails and kept beside the log */
    uint64_t cut_files;       /* the files they are kept in */
    uint64_t indexed_records; /* found past the last index entry, whole, and indexed */
    uint64_t replayed_bytes;  /* written anew from the journal */
    uint64_t ended_rests;     /* unfinished lines of a crash appended as lines */
    uint64_t rewritten_files; /* segments written anew after a failed fsync */
    uint64_t damaged;         /* partitions with damage that recovery does not guess about */
};

/* Opens a store and recovers it. Errors: -ENOENT missing (and not `create`); -ENOTDIR; -ENOTEMPTY a directory
 * that is not a store; -EWOULDBLOCK another process has it open; -EBADMSG a store of a newer format or damage
 * that leaves nothing to serve; -ENOSPC, -EIO, -EACCES from the files. */
int tlog_store_open(struct tlog_store **out, const char *path, const struct tlog_options *options,
                    struct tlog_error *error);
/* Ends what is unfinished as lines, makes everything durable, writes the checkpoint, closes and frees.
 * Returns the first failure, and closes all the same. All references and writers must have been given back. */
int tlog_store_close(struct tlog_store *store, struct tlog_error *error);
void tlog_store_recovery(struct tlog_store *store, struct tlog_recovery *out);
/* One round of background work that is due: closing entries, syncing files, reusing journal space, rolling by
 * age, the checkpoint. Returns the nanoseconds until there is more to do, -1 when nothing is pending. */
int64_t tlog_store_upkeep(struct tlog_store *store);
/* One round of the slow background work that is due: sealing full segments, removing raw files that have lingered,
 * retention, dropping trimmed segments that nobody pins any more, emptying the trash. Returns as
 * tlog_store_upkeep. With `no_upkeep` the caller calls it. */
int64_t tlog_store_maintain(struct tlog_store *store);
/* Makes everything appended so far durable, syncs all files and writes the checkpoint. */
int tlog_store_sync(struct tlog_store *store);

struct tlog_store_status {
    char id[37]; /* the store's random id, as text */
    bool failed; /* the journal could not be synced: read-only until a restart */
    bool copied; /* it is a copy, and nobody has said yet what it is: see tlog_adopt */
    uint64_t topics, partitions;
    uint64_t journal_bytes; /* on disk */
    uint64_t journal_used_bytes;
    uint64_t open_files;
    uint64_t syncs; /* journal syncs so far */
    /* Frames of sealed segments, 256 KiB each: decompressed in memory, found so far by readers, decompressed so far. */
    uint64_t frames, frames_found, frames_decompressed;
    /* The maintenance: what it seals now, "orders/0: segment 268435456"; empty: nothing. How many full segments wait to
     * be sealed, and the end of the oldest of them. Whether retention by time waits because the clock is far ahead. */
    char sealing[320];
    uint64_t unsealed_segments;
    int64_t unsealed_ns;
    bool clock_doubted;
};
void tlog_store_status(struct tlog_store *store, struct tlog_store_status *out);
/* As statvfs(3) for the store's filesystem. */
struct statvfs;
int tlog_store_statfs(struct tlog_store *store, struct statvfs *out);

/* Modes and owners, persisted; the library keeps them and enforces nothing. mode: permission bits only. */
struct tlog_attr {
    uint32_t mode, uid, gid;
};

/* The root directory's; changes are persisted before the call returns. */
void tlog_store_attr(struct tlog_store *store, struct tlog_attr *out);
int tlog_store_set_attr(struct tlog_store *store, const struct tlog_attr *attr);

/* When a topic was last made, removed or renamed (the root directory's mtime); 0 if the disk does not tell. */
int64_t tlog_store_mtime_ns(struct tlog_store *store);

/* The text of topicfs.conf (the root .config): defaults of every topic. See tlog_topic_config*. */
int tlog_store_config_text(struct tlog_store *store, char **out);
int tlog_store_config_set(struct tlog_store *store, const char *text, bool replace, struct tlog_error *error);

/* Whether `text` (lines of key=value, # comments, blank lines) could be applied: -EINVAL and a sentence with
 * the line's number otherwise. A last line without newline counts as complete. */
int tlog_config_check(const char *text, struct tlog_error *error);

/* ---- topics ----------------------------------------------------------------------------------------- */

/* All topics in name order: an array of references, each to be given back, and the array freed, by
 * tlog_topics_free. */
int tlog_store_topics(struct tlog_store *store, struct tlog_topic ***out, size_t *count);
void tlog_topics_free(struct tlog_topic **topics, size_t count);
/* A reference to the topic of that name, or NULL. */
struct tlog_topic *tlog_topic_get(struct tlog_store *store, const char *name);
void tlog_topic_unref(struct tlog_topic *topic);

/* Creates a topic with `partitions` partitions (0: as the root configuration says). `attr` is the directory's
 * (partitions take its owner, and its mode without x). Names: 1 to 249 of [A-Za-z0-9._-], not starting with a
 * dot. Errors: -EINVAL, -ENAMETOOLONG, -EEXIST, -ENOSPC, -EROFS. `out` may be NULL, else gets a reference. */
int tlog_topic_create(struct tlog_store *store, const char *name, unsigned partitions, const struct tlog_attr *attr,
                      struct tlog_topic **out, struct tlog_error *error);
/* Removes a topic without records: -ENOTEMPTY when a partition holds any or has an unfinished line. `discard`
 * deletes it with its records (it goes to the trash, and so does one that partitions with records were removed from, so
 * that they can be restored). Whoever still has references gets -ESTALE from what
 * changes anything, and can read on as long as the trash keeps it. */
int tlog_topic_remove(struct tlog_topic *topic, bool discard);
/* -EEXIST, -EINVAL, -ENAMETOOLONG as for create. */
int tlog_topic_rename(struct tlog_topic *topic, const char *name);

/* A copy of the name (a topic can be renamed). */
void tlog_topic_name(struct tlog_topic *topic, char to[256]);
/* 16 random bytes; a topic deleted and made again has others. Constant. */
const uint8_t *tlog_topic_id(const struct tlog_topic *topic);
void tlog_topic_attr(struct tlog_topic *topic, struct tlog_attr *out);
int tlog_topic_set_attr(struct tlog_topic *topic, const struct tlog_attr *attr);
/* When a partition was last added or removed (the directory's mtime). */
int64_t tlog_topic_mtime_ns(struct tlog_topic *topic);

/* The value in force: the topic's own, else the root's, else the default. Cheap, takes no lock. */
int64_t tlog_topic_value(struct tlog_topic *topic, enum tlog_key key);
/* The text of topic.conf, comments and all, NUL-terminated, to be freed. */
int tlog_topic_config_text(struct tlog_topic *topic, char **out);
/* Applies lines as one: `replace` makes `text` the whole, otherwise each key in it is set in place (comments
 * and order kept, new keys appended). Checked as by tlog_config_check; persisted before it returns. */
int tlog_topic_config_set(struct tlog_topic *topic, const char *text, bool replace, struct tlog_error *error);

/* Highest partition number + 1; numbers below it may be missing (deleted). */
unsigned tlog_topic_partitions(struct tlog_topic *topic);
/* Adds partition `number` and every missing one below it. `attr` is that of partitions made now; NULL: from
 * the topic's. -EINVAL at partitions.max and above, -EEXIST when it is there, -ESTALE, -ENOSPC, -EROFS. */
int tlog_topic_add_partition(struct tlog_topic *topic, unsigned number, const struct tlog_attr *attr);
/* Where the last partition of that number ended that was removed: one made since begins there. 0: none was. It tells
 * apart partitions that follow each other under a number. */
uint64_t tlog_topic_born(struct tlog_topic *topic, unsigned number);
/* A reference to that partition, or NULL. */
struct tlog_partition *tlog_partition_get(struct tlog_topic *topic, unsigned number);

/* ---- partitions ------------------------------------------------------------------------------------- */

struct tlog_partition *tlog_partition_ref(struct tlog_partition *partition);
void tlog_partition_unref(struct tlog_partition *partition);
unsigned tlog_partition_number(const struct tlog_partition *partition);
/* Borrowed for as long as the partition is. */
struct tlog_topic *tlog_partition_topic(const struct tlog_partition *partition);
/* A pointer of the caller's, NULL at first. Setting is not synchronised: set it once, before sharing. */
void tlog_partition_set_user(struct tlog_partition *partition, void *user);
void *tlog_partition_user(const struct tlog_partition *partition);

/* Where a partition stands, all taken at one instant. */
struct tlog_bounds {
    uint64_t start;     /* pos of the oldest byte kept */
    uint64_t end;       /* pos after the last byte appended */
    uint64_t committed; /* what readers may see: the end, for an unreplicated partition */
    uint64_t durable;   /* what survives a power cut */
    uint64_t start_seq, end_seq;
    uint64_t pending; /* bytes of unfinished lines held for open writers */
    uint64_t disk_bytes;
    int64_t mtime_ns; /* the last append, or what tlog_partition_set_mtime said since */
    int64_t ctime_ns; /* the last append or attribute change */
    uint64_t chain;   /* at the end of the last closed entry */
    uint32_t epoch, leader;
    uint64_t segments;     /* from the start on */
    uint64_t sealed_bytes; /* of the log that are in sealed segments */
    bool failed;           /* an fsync failed: read-only until a restart */
    bool damaged;          /* recovery found what it does not guess about: read-only */
    bool deleted;
};
void tlog_partition_bounds(struct tlog_partition *partition, struct tlog_bounds *out);
/* `committed` alone, without a lock. */
uint64_t tlog_partition_committed(struct tlog_partition *partition);

void tlog_partition_attr(struct tlog_partition *partition, struct tlog_attr *out);
int tlog_partition_set_attr(struct tlog_partition *partition, const struct tlog_attr *attr);
/* Holds until the next append. */
int tlog_partition_set_mtime(struct tlog_partition *partition, int64_t mtime_ns);

/* Removes the partition: -EPERM when it holds records or an unfinished line, unless `discard` (it goes to the
 * trash; its end is remembered, and a partition of that number made later starts there). */
int tlog_partition_remove(struct tlog_partition *partition, bool discard);

/* Asks for options.grown when the partition changes; counted, so each true wants its false. */
void tlog_partition_watch(struct tlog_partition *partition, bool on);

/* A writer is one open file description: it holds the unfinished line ("rest") written through it. One thread
 * at a time may use it. The rest is accepted data: it survives the death of the process in the journal. */
int tlog_writer_open(struct tlog_writer **out, struct tlog_partition *partition);
/* Bytes of the unfinished line held. */
size_t tlog_writer_held(const struct tlog_writer *writer);
/* Appends the rest followed by data[0, whole) as whole records, and holds data[whole, length) as the new rest
 * (added to the old one when whole is 0). `records` is how many end in data[0, whole); with whole > 0 a lines
 * partition expects data[whole - 1] to be a newline, a raw one takes data[0, whole) as one record and no rest.
 * Returns `length`, or `whole` when the lines were appended and the rest could not be kept, or, with nothing
 * changed: -ENOSPC; -EDQUOT over quota.bytes; -EIO; -EROFS failed or damaged; -ESTALE deleted. */
ssize_t tlog_writer_append(struct tlog_writer *writer, const void *data, size_t length, size_t whole, uint32_t records);
/* Forgets the rest: its line outgrew max.message.bytes. */
void tlog_writer_drop(struct tlog_writer *writer);
/* Appends the rest, if any, with a newline, and frees the writer. When it cannot be appended now (disk full),
 * it stays in the journal and is appended as soon as it can: 0 all the same. */
void tlog_writer_close(struct tlog_writer *writer);

/* Appends `length` bytes holding `records` whole records, without a writer. Errors as tlog_writer_append. */
int tlog_partition_append(struct tlog_partition *partition, const void *data, size_t length, uint32_t records);

/* Waiting for durability. */
struct tlog_waiter {
    /* Called exactly once, with 0 or -errno, perhaps before tlog_partition_sync returns, by whichever thread
     * completed the sync, with no lock held. The waiter belongs to the library until then. */
    void (*done)(struct tlog_waiter *waiter, int result);
    struct tlog_waiter *next; /* the library's */
    uint64_t target;          /* the library's */
};
/* Makes everything appended, and every unfinished line held so far, durable: the journal's group commit.
 * Results: 0; -EIO the disk refused (the partition or the store is read-only from then on); -ESTALE. */
void tlog_partition_sync(struct tlog_partition *partition, struct tlog_waiter *waiter);
/* The same, waiting. */
int tlog_partition_sync_wait(struct tlog_partition *partition);

/* A piece of the log in memory, borrowed until released. */
struct tlog_view {
    const void *data;
    size_t length;
    void *hold; /* the library's */
};
/* Bytes from `pos` on, at most `length`, never past `committed` and never past the segment that holds pos: so
 * perhaps fewer than asked, and none only at the end. -ESTALE below the start. A disk error shows only when
 * the bytes are touched (SIGBUS here, EFAULT from a system call): copy with tlog_partition_read to be told.
 * `sequential`: the reader goes on from where it was, so read ahead. */
int tlog_partition_view(struct tlog_partition *partition, uint64_t pos, size_t length, bool sequential,
                        struct tlog_view *out);
void tlog_view_release(struct tlog_view *view);
/* Copies bytes from `pos` on: `length` of them unless committed ends before. 0 at the end. -ESTALE below the
 * start, -EIO. */
ssize_t tlog_partition_read(struct tlog_partition *partition, uint64_t pos, void *to, size_t length);

/* ---- trimming the head ------------------------------------------------------------------------------ */

/* Raises the start to `pos` or, where that is inside a segment, to the segment's first byte: whole segments go
 * (Kafka's delete-records). `pos` at the end, or UINT64_MAX for the end as it is by then, rolls first, so that
 * everything goes. The new start is durable before any file is removed. *start gets the new start; may be NULL. -EINVAL
 * past the end; -EROFS, -ESTALE, -ENOSPC. */
int tlog_partition_trim(struct tlog_partition *partition, uint64_t pos, uint64_t *start);

/* A pin keeps what lies from its pos on readable after it was trimmed, within the partition's pin.bytes and
 * pin.ms; then reads there are -ESTALE. Reads below the start and above a pin's pos need no more than the pin. */
struct tlog_pin {
    struct tlog_partition *partition; /* a reference */
    uint64_t pos;
    struct tlog_pin *next, **link; /* the library's */
};
/* Pins from `pos` on. -ESTALE when that has been trimmed already. */
int tlog_partition_pin(struct tlog_partition *partition, uint64_t pos, struct tlog_pin *pin);
/* Gives a pin back; a pin that is all zero is none. */
void tlog_pin_release(struct tlog_pin *pin);

/* Where partitions are cut by one instant. */
struct tlog_cut {
    struct tlog_topic *topic; /* a reference */
    struct tlog_pin pin;      /* at the start */
    uint64_t start, end;      /* whole records, and no unfinished line */
    int64_t mtime_ns;         /* of the last record before the cut, or of the partition */
};
/* Cuts every partition at one instant: now (time_ns 0: no append is between any two of the ends), or before the
 * first record appended after `time_ns`. The array is sorted by topic name and partition number; to be freed by
 * tlog_cuts_free. -EINVAL a time in the future. */
int tlog_store_cut(struct tlog_store *store, int64_t time_ns, struct tlog_cut **out, size_t *count);
void tlog_cuts_free(struct tlog_cut *cuts, size_t count);

/* ---- segments --------------------------------------------------------------------------------------- */

struct tlog_segment_info {
    uint64_t pos, end;   /* of the log */
    bool sealed;         /* has its .zst file */
    uint64_t disk_bytes; /* of its files */
    /* Of the .zst file, when sealed. */
    uint64_t file_bytes;
    int64_t mtime_ns;
};
/* The segments from the start on, oldest first; the active one is the last. To be freed. */
int tlog_partition_segments(struct tlog_partition *partition, struct tlog_segment_info **out, size_t *count);

/* A sealed segment as the file that it is; readable until closed, also when it has been trimmed meanwhile. */
struct tlog_segment_file;
/* -ENOENT no sealed segment begins at `pos`. */
int tlog_segment_file_open(struct tlog_partition *partition, uint64_t pos, struct tlog_segment_file **out);
/* As pread(2): fewer bytes only at the end of the file. */
ssize_t tlog_segment_file_read(struct tlog_segment_file *file, uint64_t foff, void *to, size_t length);
void tlog_segment_file_close(struct tlog_segment_file *file);

/* Calls `each` with a sentence for each damage met while serving (a frame of a sealed segment that fails its
 * checksum), the latest 64 of them; also told to options.note when found. */
void tlog_store_damages(struct tlog_store *store, void (*each)(void *arg, const char *line), void *arg);

/* ---- the trash -------------------------------------------------------------------------------------- */

struct stat;
struct tlog_trash_item {
    char name[512]; /* of its directory in the trash: what to restore it by */
    char topic[256];
    int partition; /* -1: the whole topic */
    int64_t removed_ns;
    uint64_t disk_bytes;
};
/* What is in the trash, oldest first; to be freed. */
int tlog_store_trash(struct tlog_store *store, struct tlog_trash_item **out, size_t *count);
/* Puts it back where it was. -ENOENT no such item; -EEXIST a topic or partition of that name is there; -EBADMSG its
 * topic was made anew since. */
int tlog_store_restore(struct tlog_store *store, const char *item, struct tlog_error *error);
/* Removes it for good. */
int tlog_store_discard(struct tlog_store *store, const char *item, struct tlog_error *error);
/* What lies in the trash under `path` ("" or "ITEM" or "ITEM/0"), name by name, until `each` returns non-zero; returns
 * that. -ENOENT, -ENOTDIR. */
int tlog_trash_list(struct tlog_store *store, const char *path,
                    int (*each)(void *arg, const char *name, const struct stat *st), void *arg);
/* A file in there, to be read and closed as a segment's. */
int tlog_trash_open(struct tlog_store *store, const char *path, struct tlog_segment_file **out);

/* ---- quotas ----------------------------------------------------------------------------------------- */

/* Charges an append of `bytes` to quota.bytes.per.second and returns how long the writer should wait before it, in
 * ns: 0 within the quota. */
int64_t tlog_partition_throttle(struct tlog_partition *partition, uint64_t bytes);

/* ---- finding ---------------------------------------------------------------------------------------- */

/* Finding records. `pos` gets the first byte of the record and `found_seq` its number (either may be NULL);
 * past the last record both are the end. */
int tlog_partition_find_seq(struct tlog_partition *partition, uint64_t seq, uint64_t *pos, uint64_t *found_seq);
/* The first record appended at or after `time_ns`, to the precision of an index entry (4 KiB or 100 ms): never
 * later than that record. */
int tlog_partition_find_time(struct tlog_partition *partition, int64_t time_ns, uint64_t *pos, uint64_t *found_seq);
/* The first record that begins at or after `at`. */
int tlog_partition_find_pos(struct tlog_partition *partition, uint64_t at, uint64_t *pos, uint64_t *found_seq);

/* ---- a store that was moved or copied --------------------------------------------------------------- */

/* What a store that was copied or moved is from now on, offline: the same one (`adopt`: it was moved, the original
 * is no more) or another one with an id of its own (`clone`; its topics keep theirs). Until one of them is said every
 * start asks for it. The store is recovered first. -EWOULDBLOCK a process has it open; else as tlog_store_open. */
int tlog_adopt(const char *path, struct tlog_error *error);
int tlog_clone(const char *path, struct tlog_error *error);

/* ---- looking at a store offline --------------------------------------------------------------------- */

/* One index entry, as in the file. */
struct tlog_entry {
    uint64_t pos, seq;
    int64_t time_ns; /* of its last append; never decreasing in a partition */
    uint32_t length_bytes, records, epoch, flags;
    uint64_t producer;
    uint32_t producer_seq, leader;
    uint64_t chain;
};
enum { TLOG_ENTRY_EPOCH = 1, TLOG_ENTRY_ROLL = 2, TLOG_ENTRY_LOSSY = 4 };

/* Calls `each` for every index entry of a partition, oldest first, until it returns non-zero; returns that. */
int tlog_partition_entries(struct tlog_partition *partition, int (*each)(void *arg, const struct tlog_entry *entry),
                           void *arg);

struct tlog_verify {
    uint64_t topics, partitions, segments, entries, records, bytes; /* what was read */
    uint64_t unindexed_bytes; /* whole records past the last entry: no damage, recovery indexes them */
    uint64_t torn_bytes;      /* an unfinished tail: no damage, recovery cuts it */
    uint64_t damages;
};
/* Reads a whole store, or one topic of it (`topic` non-NULL), that no process has open, and checks every byte
 * against its chain. `damage` gets a sentence for each piece of damage (file, entry, what is wrong). Returns 0
 * when it could read everything, whatever it found; -ENOENT no such topic; else as tlog_store_open. */
int tlog_verify(const char *path, const char *topic, void (*damage)(void *arg, const char *line),
                void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes), void *arg,
                struct tlog_verify *out, struct tlog_error *error);
/* The same with options (of which io counts; without it the store's lock is taken). `read_only` must be set. */
int tlog_verify_with(const struct tlog_options *options, const char *path, const char *topic,
                     void (*damage)(void *arg, const char *line),
                     void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes), void *arg,
                     struct tlog_verify *out, struct tlog_error *error);

#endif
