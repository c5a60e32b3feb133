/* The journal's files: made, found, used in turn, given back. */
#include "log/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/bytes.h"
#include "log/error.h"

static const uint8_t magic[4] = {'T', 'L', 'J', 'N'};
enum { VERSION = 1, ZERO_BYTES = 1 << 20 };

static void file_path(const struct tlog_journal *journal, unsigned name, char to[4096])
{
    snprintf(to, 4096, "%s/%06u", journal->path, name);
}

int tlog_journal_write_header(struct tlog_journal *journal, struct tlog_journal_file *file)
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

/* Higher than any before, and never given twice: a power cut may lose the header that tells of a generation and keep
 * records of it, which must not pass for those of the next one. So half of it is drawn. */
static uint64_t next_generation(struct tlog_journal *journal)
{
    uint32_t drawn;
    journal->io->random(journal->io, &drawn, sizeof drawn);
    return ((journal->generation >> 32) + 1) << 32 | drawn;
}

/* Makes a free file the current one. Under the lock. */
int tlog_journal_turn(struct tlog_journal *journal)
{
    struct tlog_journal_file *file = find_free(journal);
    if (!file) {
        int r = make_file(journal, journal->next_name, &file);
        if (r < 0)
            return r;
        journal->next_name++;
        append_file(journal, file);
    }
    file->generation = next_generation(journal);
    file->first_lsn = journal->lsn + 1;
    file->last_lsn = journal->lsn;
    file->used_bytes = TLOG_JOURNAL_HEADER_BYTES;
    int r = tlog_journal_write_header(journal, file);
    if (r < 0) {
        file->generation = 0;
        return r;
    }
    journal->generation = file->generation;
    file->dirty = true;
    file->replayed = false;
    move_last(journal, file);
    journal->current = file;
    return 0;
}

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
    file->fd = io->open(io, path, journal->looks ? TLOG_IO_READ : TLOG_IO_WRITE);
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

static void prepare(struct tlog_journal *journal, const struct tlog_io *io, const char *path,
                    const uint8_t store_id[16])
{
    memset(journal, 0, sizeof *journal);
    journal->io = io;
    journal->queue_end = &journal->queue;
    memcpy(journal->store_id, store_id, 16);
    pthread_mutex_init(&journal->lock, NULL);
    journal->path = strdup(path);
}

int tlog_journal_look(struct tlog_journal *journal, const struct tlog_io *io, const char *path,
                      const uint8_t store_id[16])
{
    prepare(journal, io, path, store_id);
    journal->looks = true;
    int r = journal->path ? io->list(io, path, open_found, journal) : -ENOMEM;
    return r == -ENOENT ? 0 : r;
}

int tlog_journal_open(struct tlog_journal *journal, const struct tlog_io *io, const char *path,
                      const uint8_t store_id[16], uint64_t file_bytes, bool discard, struct tlog_error *error)
{
    prepare(journal, io, path, store_id);
    journal->file_bytes = file_bytes ? (file_bytes + 4095) & ~(uint64_t)4095 : TLOG_JOURNAL_FILE_BYTES;
    if (journal->file_bytes < 4 * TLOG_JOURNAL_HEADER_BYTES)
        journal->file_bytes = 4 * TLOG_JOURNAL_HEADER_BYTES;
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
