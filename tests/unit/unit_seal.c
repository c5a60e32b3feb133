/* Sealing by hand, in a store that is closed or while it serves. */
#include "unit.h"

#include "log/sealed.h"

static int open_part(struct unit *u, const char *stem, const char *suffix)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s%s", u->path, stem, suffix);
    int fd = u->io->open(u->io, path, TLOG_IO_READ);
    assert_true(fd >= 0);
    return fd;
}

struct feeding {
    struct tlog_sealing *sealing;
    const struct tlog_scan *scan;
    const struct tlog_io *io;
};

static int feed(void *arg, const struct tlog_entry *entry)
{
    const struct feeding *feeding = arg;
    uint8_t *data = malloc(entry->length_bytes + 1);
    assert_int_equal(feeding->io->pread(feeding->io, feeding->scan->log_fd, data, entry->length_bytes,
                                        entry->pos - feeding->scan->segment_pos),
                     entry->length_bytes);
    assert_int_equal(tlog_sealing_data(feeding->sealing, data, entry->length_bytes), 0);
    assert_int_equal(tlog_sealing_entry(feeding->sealing, entry), 0);
    free(data);
    return 0;
}

void unit_seal(struct unit *u, const char *dir, uint64_t pos, bool raw_stays)
{
    char stem[256], path[512];
    uint8_t bytes[TLOG_INDEX_HEADER_BYTES];
    struct tlog_index_header header;
    struct tlog_scan scan;
    snprintf(stem, sizeof stem, "%s%020" PRIu64, dir, pos);
    snprintf(path, sizeof path, "%s/%s.zst", u->path, stem);
    int log = open_part(u, stem, ".log"), idx = open_part(u, stem, ".idx");
    assert_int_equal(u->io->pread(u->io, idx, bytes, sizeof bytes, 0), sizeof bytes);
    assert_int_equal(tlog_index_header_decode(&header, bytes), 0);
    struct feeding feeding = {.scan = &scan, .io = u->io};
    assert_int_equal(tlog_sealing_new(&feeding.sealing, u->io, path, &header, 1), 0);
    assert_int_equal(tlog_scan_open(&scan, u->io, log, idx, pos, NULL, NULL), 0);
    scan.each = feed;
    scan.arg = &feeding;
    assert_int_equal(tlog_scan_run(&scan, NULL), 0);
    assert_int_equal(scan.at.pos, pos + scan.log_bytes);
    assert_int_equal(tlog_sealing_finish(feeding.sealing), 0);
    tlog_sealing_free(feeding.sealing);
    u->io->close(u->io, log);
    u->io->close(u->io, idx);
    snprintf(path, sizeof path, "%s/%s", u->path, dir);
    assert_int_equal(u->io->sync_dir(u->io, path), 0);
    if (raw_stays)
        return;
    snprintf(path, sizeof path, "%s.log", stem);
    unit_unlink(u, path);
    snprintf(path, sizeof path, "%s.idx", stem);
    unit_unlink(u, path);
    snprintf(path, sizeof path, "%s/%s", u->path, dir);
    assert_int_equal(u->io->sync_dir(u->io, path), 0);
}

void unit_seal_live(struct unit *u, struct tlog_partition *p, uint64_t pos, bool raw_stays)
{
    char dir[300], path[TLOG_NAME_BYTES], name[TLOG_NAME_BYTES + 8];
    struct tlog_io_stat st;
    snprintf(dir, sizeof dir, "topics/%s/%u/", p->topic->name, p->number);
    unit_seal(u, dir, pos, true);
    pthread_mutex_lock(&p->lock);
    tlog_segment_path(p, pos, path);
    snprintf(name, sizeof name, "%s.zst", path);
    unsigned i = tlog_segment_find(p, pos);
    assert_int_equal(p->segments[i].pos, pos);
    assert_int_equal(u->io->stat_path(u->io, name, &st), 0);
    tlog_segment_form(p, i, TLOG_SEALED, &st);
    if (!raw_stays)
        tlog_segment_form(p, i, TLOG_RAW, NULL);
    pthread_mutex_unlock(&p->lock);
    if (raw_stays)
        return;
    snprintf(name, sizeof name, "%s.idx", path);
    assert_int_equal(u->io->unlink(u->io, name), 0);
    snprintf(name, sizeof name, "%s.log", path);
    assert_int_equal(u->io->unlink(u->io, name), 0);
}
