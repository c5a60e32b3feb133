/* A write goes to the current file; when that is full the next free one becomes current under a new
 * generation. Checksums are seeded with the generation, so that what a file holds from its earlier uses never
 * passes for new. Numbers run on without gap from file to file: a missing one ends the replay, because files
 * are synced in their order.
 *
 * How it fails. A torn record: its checksum is wrong, replay ends there, and nobody was told that it is
 * durable. A failed fdatasync: the journal is failed for good, everybody waiting gets -EIO, and the store is
 * read-only. A full disk when a further file is needed: the write that needs it gets -ENOSPC; nothing was
 * changed. */
#include "log/journal.h"

#include <errno.h>
#include <stdlib.h>

#include "log/bytes.h"
#include "log/wait.h"

enum { RECORD_MAGIC = 0x524a4c54 };

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) & ~(uint64_t)7;
}

/* ---- records ---- */

/* checksum u64 | lsn u64 | magic u32 | body bytes u32 | type u32 | partition u32 | topic id 16; the checksum
 * covers what follows it, body included, seeded with the file's generation. */
static void encode_record(uint8_t to[TLOG_JOURNAL_RECORD_BYTES], enum tlog_journal_type type,
                          const uint8_t topic_id[16], uint32_t partition, uint32_t body_bytes, uint64_t lsn)
{
    tlog_put_u64(to + 8, lsn);
    tlog_put_u32(to + 16, RECORD_MAGIC);
    tlog_put_u32(to + 20, body_bytes);
    tlog_put_u32(to + 24, type);
    tlog_put_u32(to + 28, partition);
    memcpy(to + 32, topic_id, 16);
}

static int replay_file(struct tlog_journal_file *file, const uint8_t *data, uint64_t bytes, uint64_t from,
                       int (*each)(void *arg, const struct tlog_journal_record *), void *arg)
{
    uint64_t foff = TLOG_JOURNAL_HEADER_BYTES, lsn = file->first_lsn;
    while (foff + TLOG_JOURNAL_RECORD_BYTES <= bytes) {
        const uint8_t *head = data + foff;
        uint64_t body_bytes = tlog_get_u32(head + 20);
        if (tlog_get_u32(head + 16) != RECORD_MAGIC || tlog_get_u64(head + 8) != lsn ||
            body_bytes > bytes - foff - TLOG_JOURNAL_RECORD_BYTES ||
            tlog_get_u64(head) != tlog_hash(head + 8, TLOG_JOURNAL_RECORD_BYTES - 8 + body_bytes, file->generation))
            break;
        struct tlog_journal_record record = {
            .type = tlog_get_u32(head + 24),
            .partition = tlog_get_u32(head + 28),
            .lsn = lsn,
            .body = head + TLOG_JOURNAL_RECORD_BYTES,
            .body_bytes = (uint32_t)body_bytes,
        };
        memcpy(record.topic_id, head + 32, 16);
        int r = lsn >= from ? each(arg, &record) : 0;
        if (r != 0)
            return r;
        foff += padded(TLOG_JOURNAL_RECORD_BYTES + body_bytes);
        lsn++;
    }
    file->used_bytes = foff;
    file->last_lsn = lsn - 1;
    return 0;
}

/* Makes sure that a file which follows a gap is never read again. */
static int forget_file(struct tlog_journal *journal, struct tlog_journal_file *file)
{
    file->generation = 0;
    if (journal->looks)
        return 0;
    int r = tlog_journal_write_header(journal, file);
    if (r < 0)
        return r;
    r = journal->io->sync(journal->io, file->fd);
    if (r < 0 && journal->on_failure) /* the next start must not believe that it is forgotten */
        journal->on_failure(journal->arg);
    return r;
}

int tlog_journal_replay(struct tlog_journal *journal, uint64_t from,
                        int (*each)(void *arg, const struct tlog_journal_record *record), void *arg)
{
    uint64_t expected = 0; /* the number that goes on from what was read */
    bool ended = false;
    int r = 0;
    for (struct tlog_journal_file *file = journal->files; r == 0 && file && file->replayed; file = file->next) {
        /* A file that continues nothing: the one before it lost its tail. Below `from` that does not matter. */
        ended = ended || (expected > from && file->first_lsn != expected);
        if (ended) {
            r = forget_file(journal, file);
            continue;
        }
        uint8_t *data = malloc(file->bytes);
        if (!data)
            return -ENOMEM;
        ssize_t n = journal->io->pread(journal->io, file->fd, data, file->bytes, 0);
        r = n < 0 ? (int)n : replay_file(file, data, (uint64_t)n, from, each, arg);
        free(data);
        expected = file->last_lsn + 1;
    }
    for (struct tlog_journal_file *file = journal->files; file; file = file->next) {
        if (file->replayed && file->last_lsn < from)
            file->generation = 0; /* nothing in it is needed */
        /* What was read may stand in the page cache alone, and new records must not be durable before it. */
        file->dirty = file->generation != 0;
    }
    journal->lsn = expected > from ? expected - 1 : from - (from > 0);
    atomic_store(&journal->synced, from - (from > 0));
    return r;
}

/* Under the lock. */
static int write_record(struct tlog_journal *journal, uint8_t *head, const struct iovec *parts, int count,
                        uint64_t body_bytes)
{
    uint64_t bytes = padded(TLOG_JOURNAL_RECORD_BYTES + body_bytes);
    if (!journal->current || journal->current->used_bytes + bytes > journal->current->bytes) {
        if (bytes > journal->file_bytes - TLOG_JOURNAL_HEADER_BYTES)
            return -EFBIG;
        int r = tlog_journal_turn(journal);
        if (r < 0)
            return r;
    }
    struct tlog_journal_file *file = journal->current;
    struct iovec all[8] = {{head, TLOG_JOURNAL_RECORD_BYTES}};
    XXH3_state_t state;
    tlog_hash_begin(&state, file->generation);
    tlog_put_u64(head + 8, journal->lsn + 1);
    XXH3_64bits_update(&state, head + 8, TLOG_JOURNAL_RECORD_BYTES - 8);
    for (int i = 0; i < count; i++) {
        all[i + 1] = parts[i];
        XXH3_64bits_update(&state, parts[i].iov_base, parts[i].iov_len);
    }
    tlog_put_u64(head, XXH3_64bits_digest(&state));
    int r = journal->io->pwritev(journal->io, file->fd, all, count + 1, file->used_bytes);
    if (r < 0)
        return r;
    journal->lsn++;
    file->last_lsn = journal->lsn;
    file->used_bytes += bytes;
    file->dirty = true;
    return 0;
}

int tlog_journal_write(struct tlog_journal *journal, enum tlog_journal_type type, const uint8_t topic_id[16],
                       uint32_t partition, const struct iovec *parts, int count, uint64_t *lsn)
{
    uint8_t head[TLOG_JOURNAL_RECORD_BYTES];
    uint64_t body_bytes = 0;
    for (int i = 0; i < count; i++)
        body_bytes += parts[i].iov_len;
    encode_record(head, type, topic_id, partition, (uint32_t)body_bytes, 0);
    pthread_mutex_lock(&journal->lock);
    struct tlog_journal_file *before = journal->current;
    uint64_t used = before ? before->used_bytes : 0;
    int r = journal->failed ? -EROFS : write_record(journal, head, parts, count, body_bytes);
    if (r == 0 && lsn)
        *lsn = journal->lsn;
    bool pressure =
        r == 0 && before &&
        (before != journal->current || (used <= before->bytes / 2 && before->used_bytes > before->bytes / 2));
    pthread_mutex_unlock(&journal->lock);
    if (pressure && journal->on_pressure)
        journal->on_pressure(journal->arg);
    return r;
}

/* ---- group commit ---- */

/* One round for everybody in the queue. Called and returns with the lock held. */
static void sync_round(struct tlog_journal *journal)
{
    enum { MOST = 16 };
    struct tlog_waiter *batch = journal->queue;
    uint64_t target = journal->lsn;
    int fds[MOST], count = 0;
    journal->queue = NULL;
    journal->queue_end = &journal->queue;
    bool all = true;
    for (struct tlog_journal_file *file = journal->files; file; file = file->next) {
        if (!file->dirty)
            continue;
        if (count == MOST) { /* those that follow wait for the next round */
            target = file->first_lsn - 1;
            all = false;
            break;
        }
        fds[count++] = file->fd;
        file->dirty = false;
    }
    /* Who came while a sync failed is not helped by another one: it would pass for the pages that were lost. */
    bool failed_before = journal->failed != 0;
    int r = failed_before ? -EIO : 0;
    pthread_mutex_unlock(&journal->lock);
    for (int i = 0; r == 0 && i < count; i++)
        r = journal->io->sync(journal->io, fds[i]);
    pthread_mutex_lock(&journal->lock);
    journal->syncs += !failed_before;
    if (r < 0 && !failed_before)
        journal->failed = r;
    else if (r == 0)
        atomic_store_explicit(&journal->synced, target, memory_order_release);
    if (r == 0 && !all) {
        *journal->queue_end = batch;
        while (*journal->queue_end)
            journal->queue_end = &(*journal->queue_end)->next;
        return;
    }
    pthread_mutex_unlock(&journal->lock);
    if (r < 0 && !failed_before && journal->on_failure)
        journal->on_failure(journal->arg);
    while (batch) {
        struct tlog_waiter *next = batch->next;
        batch->done(batch, r < 0 ? -EIO : 0);
        batch = next;
    }
    pthread_mutex_lock(&journal->lock);
}

void tlog_journal_sync(struct tlog_journal *journal, uint64_t lsn, struct tlog_waiter *waiter)
{
    pthread_mutex_lock(&journal->lock);
    if (journal->failed || tlog_journal_synced(journal) >= lsn) {
        int r = tlog_journal_synced(journal) >= lsn ? 0 : -EIO;
        pthread_mutex_unlock(&journal->lock);
        waiter->done(waiter, r);
        return;
    }
    waiter->next = NULL;
    *journal->queue_end = waiter;
    journal->queue_end = &waiter->next;
    if (!journal->syncing) {
        journal->syncing = true;
        while (journal->queue)
            sync_round(journal);
        journal->syncing = false;
    }
    pthread_mutex_unlock(&journal->lock);
}

static void start_sync(void *arg, struct tlog_waiter *waiter)
{
    tlog_journal_sync(arg, tlog_journal_last(arg), waiter);
}

int tlog_journal_sync_wait(struct tlog_journal *journal)
{
    return tlog_wait(start_sync, journal);
}

uint64_t tlog_journal_last(struct tlog_journal *journal)
{
    pthread_mutex_lock(&journal->lock);
    uint64_t lsn = journal->lsn;
    pthread_mutex_unlock(&journal->lock);
    return lsn;
}
