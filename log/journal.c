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
#include <stdio.h>
#include <stdlib.h>

#include "log/bytes.h"
#include "log/error.h"

static const uint8_t magic[4] = {'T', 'L', 'J', 'N'};
enum { VERSION = 1, ZERO_BYTES = 1 << 20, RECORD_MAGIC = 0x524a4c54 };

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) & ~(uint64_t)7;
}

static void file_path(const struct tlog_journal *journal, unsigned name, char to[4096])
{
    snprintf(to, 4096, "%s/%06u", journal->path, name);
}

/* ---- files ---- */

static int write_header(struct tlog_journal *journal, struct tlog_journal_file *file)
{
    uint8_t header[512] = {0};
    memcpy(header, magic, 4);
    tlog_put_u32(header + 4, VERSION);
    memcpy(header + 8, journal->store_id, 16);
    tlog_put_u64(header + 24, file->generation);
    tlog_put_u64(header + 32, file->first_lsn);
    tlog_put_u64(header + 40, tlog_hash(header, 40, 0));
    struct iovec part = {header, sizeof header};
    return journal->io->pwritev(journal->io, file->fd, &part, 1, 0);
}

static int zero_fill(struct tlog_journal *journal, int fd)
{
    char *zeros = calloc(1, ZERO_BYTES);
    if (!zeros)
        return -ENOMEM;
    int r = 0;
    for (uint64_t foff = 0; r == 0 && foff < journal->file_bytes; foff += ZERO_BYTES) {
        uint64_t left = journal->file_bytes - foff;
        struct iovec part = {zeros, left < ZERO_BYTES ? left : ZERO_BYTES};
        r = journal->io->pwritev(journal->io, fd, &part, 1, foff);
    }
    free(zeros);
    if (r == 0)
        r = journal->io->sync(journal->io, fd);
    if (r == 0)
        r = journal->io->sync_dir(journal->io, journal->path);
    return r;
}

/* Makes a free file; takes time, so nothing but the name is taken under the lock. */
static int make_file(struct tlog_journal *journal, unsigned name, struct tlog_journal_file **out)
{
    char path[4096];
    struct tlog_journal_file *file = calloc(1, sizeof *file);
    if (!file)
        return -ENOMEM;
    file->name = name;
    file->bytes = journal->file_bytes;
    file_path(journal, name, path);
    file->fd = journal->io->open(journal->io, path, TLOG_IO_WRITE | TLOG_IO_CREATE | TLOG_IO_TRUNCATE);
    int r = file->fd < 0 ? file->fd : zero_fill(journal, file->fd);
    if (r == 0) {
        *out = file;
        return 0;
    }
    if (file->fd >= 0) {
        journal->io->close(journal->io, file->fd);
        journal->io->unlink(journal->io, path);
    }
    free(file);
    return r;
}

static void append_file(struct tlog_journal *journal, struct tlog_journal_file *file)
{
    struct tlog_journal_file **end = &journal->files;
    while (*end)
        end = &(*end)->next;
    file->next = NULL;
    *end = file;
}

static struct tlog_journal_file *find_free(struct tlog_journal *journal)
{
    struct tlog_journal_file *file = journal->files;
    while (file && file->generation != 0)
        file = file->next;
    return file;
}

static void move_last(struct tlog_journal *journal, struct tlog_journal_file *file)
{
    struct tlog_journal_file **link = &journal->files;
    while (*link != file)
        link = &(*link)->next;
    *link = file->next;
    append_file(journal, file);
}

/* Makes a free file the current one. Under the lock. */
static int turn(struct tlog_journal *journal)
{
    struct tlog_journal_file *file = find_free(journal);
    if (!file) {
        int r = make_file(journal, journal->next_name, &file);
        if (r < 0)
            return r;
        journal->next_name++;
        append_file(journal, file);
    }
    file->generation = journal->generation + 1;
    file->first_lsn = journal->lsn + 1;
    file->last_lsn = journal->lsn;
    file->used_bytes = TLOG_JOURNAL_HEADER_BYTES;
    int r = write_header(journal, file);
    if (r < 0) {
        file->generation = 0;
        return r;
    }
    journal->generation++;
    file->dirty = true;
    file->replayed = false;
    move_last(journal, file);
    journal->current = file;
    return 0;
}

/* ---- opening ---- */

static int open_found(void *arg, const char *name)
{
    struct tlog_journal *journal = arg;
    const struct tlog_io *io = journal->io;
    char path[4096], *end;
    unsigned number = (unsigned)strtoul(name, &end, 10);
    if (*end != 0 || end == name)
        return 0;
    struct tlog_journal_file *file = calloc(1, sizeof *file);
    if (!file)
        return -ENOMEM;
    file->name = number;
    if (number >= journal->next_name)
        journal->next_name = number + 1;
    file_path(journal, number, path);
    file->fd = io->open(io, path, TLOG_IO_WRITE);
    struct tlog_io_stat st;
    int r = file->fd < 0 ? file->fd : io->stat(io, file->fd, &st);
    uint8_t header[512] = {0};
    ssize_t n = r == 0 ? io->pread(io, file->fd, header, sizeof header, 0) : r;
    if (n < 0) {
        if (file->fd >= 0)
            io->close(io, file->fd);
        free(file);
        return (int)n;
    }
    file->bytes = st.size_bytes;
    if (memcmp(header, magic, 4) == 0 && tlog_get_u32(header + 4) == VERSION &&
        tlog_get_u64(header + 40) == tlog_hash(header, 40, 0) && memcmp(header + 8, journal->store_id, 16) == 0) {
        file->generation = tlog_get_u64(header + 24);
        file->first_lsn = tlog_get_u64(header + 32);
        file->replayed = true;
    }
    /* In order of generation; free ones last. */
    struct tlog_journal_file **link = &journal->files;
    while (*link && (*link)->generation != 0 && (file->generation == 0 || (*link)->generation < file->generation))
        link = &(*link)->next;
    file->next = *link;
    *link = file;
    if (file->generation > journal->generation)
        journal->generation = file->generation;
    return 0;
}

/* Removes files that cannot be used: cut short when they were made, or of another size. */
static void remove_unusable(struct tlog_journal *journal, bool all)
{
    struct tlog_journal_file **link = &journal->files;
    while (*link) {
        struct tlog_journal_file *file = *link;
        if (!all && (file->generation != 0 || file->bytes == journal->file_bytes)) {
            link = &file->next;
            continue;
        }
        char path[4096];
        *link = file->next;
        file_path(journal, file->name, path);
        journal->io->close(journal->io, file->fd);
        journal->io->unlink(journal->io, path);
        free(file);
    }
}

int tlog_journal_open(struct tlog_journal *journal, const struct tlog_io *io, const char *path,
                      const uint8_t store_id[16], uint64_t file_bytes, bool discard, struct tlog_error *error)
{
    memset(journal, 0, sizeof *journal);
    journal->io = io;
    journal->queue_end = &journal->queue;
    journal->file_bytes = file_bytes ? (file_bytes + 4095) & ~(uint64_t)4095 : TLOG_JOURNAL_FILE_BYTES;
    if (journal->file_bytes < 4 * TLOG_JOURNAL_HEADER_BYTES)
        journal->file_bytes = 4 * TLOG_JOURNAL_HEADER_BYTES;
    memcpy(journal->store_id, store_id, 16);
    pthread_mutex_init(&journal->lock, NULL);
    journal->path = strdup(path);
    int r = journal->path ? io->mkdir(io, path) : -ENOMEM;
    if (r == 0 || r == -EEXIST)
        r = io->list(io, path, open_found, journal);
    if (r < 0)
        tlog_error_set(error, "%s: %s", path, strerror(-r));
    else
        remove_unusable(journal, discard);
    return r;
}

void tlog_journal_close(struct tlog_journal *journal)
{
    while (journal->files) {
        struct tlog_journal_file *file = journal->files;
        journal->files = file->next;
        journal->io->close(journal->io, file->fd);
        free(file);
    }
    free(journal->path);
    pthread_mutex_destroy(&journal->lock);
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
    int r = write_header(journal, file);
    return r < 0 ? r : journal->io->sync(journal->io, file->fd);
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
    for (struct tlog_journal_file *file = journal->files; file; file = file->next)
        if (file->replayed && file->last_lsn < from)
            file->generation = 0; /* nothing in it is needed */
    journal->lsn = expected > from ? expected - 1 : from - (from > 0);
    atomic_store(&journal->synced, journal->lsn);
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
        int r = turn(journal);
        if (r < 0)
            return r;
    }
    struct tlog_journal_file *file = journal->current;
    struct iovec all[8] = {{head, TLOG_JOURNAL_RECORD_BYTES}};
    XXH3_state_t state;
    XXH3_64bits_reset_withSeed(&state, file->generation);
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
    pthread_mutex_unlock(&journal->lock);
    int r = 0;
    for (int i = 0; r == 0 && i < count; i++)
        r = journal->io->sync(journal->io, fds[i]);
    pthread_mutex_lock(&journal->lock);
    journal->syncs++;
    if (r < 0)
        journal->failed = r;
    else
        atomic_store_explicit(&journal->synced, target, memory_order_release);
    if (r == 0 && !all) {
        *journal->queue_end = batch;
        while (*journal->queue_end)
            journal->queue_end = &(*journal->queue_end)->next;
        return;
    }
    pthread_mutex_unlock(&journal->lock);
    if (r < 0 && journal->on_failure)
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

struct blocked {
    struct tlog_waiter waiter;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    int result;
};

static void wake(struct tlog_waiter *waiter, int result)
{
    struct blocked *blocked = (struct blocked *)waiter;
    pthread_mutex_lock(&blocked->lock);
    blocked->result = result;
    blocked->done = true;
    pthread_cond_signal(&blocked->cond);
    pthread_mutex_unlock(&blocked->lock);
}

int tlog_wait(void (*start)(void *arg, struct tlog_waiter *waiter), void *arg)
{
    struct blocked blocked = {
        .waiter = {.done = wake}, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    start(arg, &blocked.waiter);
    pthread_mutex_lock(&blocked.lock);
    while (!blocked.done)
        pthread_cond_wait(&blocked.cond, &blocked.lock);
    pthread_mutex_unlock(&blocked.lock);
    return blocked.result;
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

/* ---- space ---- */

void tlog_journal_free(struct tlog_journal *journal, uint64_t lsn)
{
    pthread_mutex_lock(&journal->lock);
    for (struct tlog_journal_file *file = journal->files; file; file = file->next)
        if (file != journal->current && file->generation != 0 && file->last_lsn < lsn && !file->dirty)
            file->generation = 0;
    /* One spare is enough; what a burst needed goes back to the disk. */
    struct tlog_journal_file *spare = NULL;
    struct tlog_journal_file **link = &journal->files;
    struct tlog_journal_file *unneeded = NULL;
    while (*link) {
        struct tlog_journal_file *file = *link;
        if (file->generation == 0 && (spare || file->bytes != journal->file_bytes)) {
            *link = file->next;
            file->next = unneeded;
            unneeded = file;
            continue;
        }
        if (file->generation == 0)
            spare = file;
        link = &file->next;
    }
    pthread_mutex_unlock(&journal->lock);
    while (unneeded) {
        struct tlog_journal_file *file = unneeded;
        char path[4096];
        unneeded = file->next;
        file_path(journal, file->name, path);
        journal->io->close(journal->io, file->fd);
        journal->io->unlink(journal->io, path);
        free(file);
    }
}

bool tlog_journal_pressed(struct tlog_journal *journal)
{
    pthread_mutex_lock(&journal->lock);
    bool pressed =
        journal->current && journal->current->used_bytes > journal->current->bytes / 2 && !find_free(journal);
    for (struct tlog_journal_file *file = journal->files; file; file = file->next)
        pressed = pressed || (file->generation != 0 && file != journal->current);
    pthread_mutex_unlock(&journal->lock);
    return pressed;
}

int tlog_journal_prepare(struct tlog_journal *journal)
{
    pthread_mutex_lock(&journal->lock);
    bool needed = !find_free(journal);
    unsigned name = journal->next_name;
    if (needed)
        journal->next_name++;
    pthread_mutex_unlock(&journal->lock);
    if (!needed)
        return 0;
    struct tlog_journal_file *file;
    int r = make_file(journal, name, &file);
    if (r < 0)
        return r;
    pthread_mutex_lock(&journal->lock);
    append_file(journal, file);
    pthread_mutex_unlock(&journal->lock);
    return 0;
}

void tlog_journal_usage(struct tlog_journal *journal, uint64_t *bytes, uint64_t *used_bytes)
{
    *bytes = *used_bytes = 0;
    pthread_mutex_lock(&journal->lock);
    for (struct tlog_journal_file *file = journal->files; file; file = file->next) {
        *bytes += file->bytes;
        if (file->generation != 0)
            *used_bytes += file->used_bytes;
    }
    pthread_mutex_unlock(&journal->lock);
}

int tlog_journal_renew(struct tlog_journal *journal)
{
    pthread_mutex_lock(&journal->lock);
    remove_unusable(journal, true);
    journal->current = NULL;
    pthread_mutex_unlock(&journal->lock);
    return tlog_journal_prepare(journal);
}
