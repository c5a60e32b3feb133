/* Reading, finding and listing where segments are raw, sealed or both, and while they become it: always the same bytes,
 * records and entries. */
#include "unit.h"

#define FIRST "topics/t/0/00000000000000000000.zst"

enum { SEGMENT = 600 << 10, LINES = 24000, LINE_MOST = 200 };

/* ---- a log of lines of any length, over several segments ---- */

struct history {
    struct tlog_partition *p;
    char *text;
    size_t bytes;
    uint64_t starts[LINES + 1]; /* of the lines */
    int64_t times[LINES];       /* not before their entry's */
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void append_lines(struct unit *u, struct history *h)
{
    uint64_t random = 88172645463325252;
    h->text = malloc((size_t)LINES * LINE_MOST);
    h->bytes = 0;
    for (unsigned i = 0; i < LINES; i++) {
        size_t length = 1 + next_random(&random) % LINE_MOST;
        char *line = h->text + h->bytes;
        for (size_t k = 0; k < length; k++)
            line[k] = "abcdefgh 0123456"[next_random(&random) % 16];
        line[length - 1] = '\n';
        h->starts[i] = h->bytes;
        assert_int_equal(tlog_partition_append(h->p, line, length, 1), 0);
        h->times[i] = unit_bounds(h->p).mtime_ns;
        h->bytes += length;
        if (i % 500 == 0 && u->disk)
            unit_advance(u, 150); /* entries of more than one time */
    }
    h->starts[LINES] = h->bytes;
    assert_int_equal(tlog_store_sync(u->store), 0);
}

static struct history *history(struct unit *u)
{
    struct history *h = calloc(1, sizeof *h);
    unit_open(u);
    h->p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=600K");
    append_lines(u, h);
    assert_in_range(h->p->segment_count, 4, 6);
    return h;
}

static void forget(struct history *h)
{
    free(h->text);
    free(h);
}

/* Sealed alone, both, sealed alone, …; the last one stays as it is. */
static void seal_all(struct unit *u, struct history *h)
{
    for (unsigned i = 0; i + 1 < h->p->segment_count; i++)
        unit_seal_live(u, h->p, h->p->segments[i].pos, i % 2);
}

static void assert_bytes(const struct history *h, uint64_t pos, size_t length)
{
    static char got[3 << 20];
    size_t want = pos >= h->bytes ? 0 : h->bytes - pos < length ? h->bytes - pos : length;
    memset(got, 0, want);
    assert_int_equal(tlog_partition_read(h->p, pos, got, length), want);
    assert_memory_equal(got, h->text + pos, want);
}

/* By views, one after the other. */
static void assert_viewed(const struct history *h, uint64_t pos, size_t length, bool sequential)
{
    struct tlog_view view;
    uint64_t end = pos + length < h->bytes ? pos + length : h->bytes;
    while (pos < end) {
        assert_int_equal(tlog_partition_view(h->p, pos, end - pos, sequential, &view), 0);
        assert_in_range(view.length, 1, end - pos);
        assert_memory_equal(view.data, h->text + pos, view.length);
        pos += view.length;
        tlog_view_release(&view);
    }
}

static void test_any_offset_any_size(void **state)
{
    struct unit *u = *state;
    struct history *h = history(u);
    uint64_t random = 1;
    seal_all(u, h);
    for (unsigned i = 0; i < 400; i++) {
        uint64_t pos = next_random(&random) % (h->bytes + 100);
        size_t length = next_random(&random) % ((uint64_t)1 << next_random(&random) % 21);
        assert_bytes(h, pos, length);
        assert_viewed(h, pos, length, i % 2);
    }
    for (unsigned i = 0; i < h->p->segment_count; i++) /* around each edge of segments and frames */
        for (uint64_t edge = h->p->segments[i].pos; edge < h->bytes && edge < h->p->segments[i].pos + SEGMENT;
             edge += TLOG_FRAME_BYTES)
            for (uint64_t pos = edge > 2 ? edge - 2 : 0; pos < edge + 2; pos++) {
                assert_bytes(h, pos, 1);
                assert_bytes(h, pos, 3);
                assert_bytes(h, pos, TLOG_FRAME_BYTES);
                assert_bytes(h, pos, TLOG_FRAME_BYTES + 1);
            }
    assert_bytes(h, 0, h->bytes);
    assert_bytes(h, h->bytes, 10);
    assert_viewed(h, 0, h->bytes, true);
    assert_string_equal(u->notes, "");
    unit_reopen(u); /* and what a start makes of it */
    h->p = unit_get(u, "t", 0);
    assert_bytes(h, 0, h->bytes);
    assert_viewed(h, 0, h->bytes, true);
    forget(h);
}

/* ---- finding, listing ---- */

struct found {
    uint64_t by_seq[2], by_pos[2], by_time[2];
};

static void find_all(const struct history *h, struct found *to)
{
    for (unsigned i = 0; i < LINES; i += 7) {
        struct found *f = &to[i];
        assert_int_equal(tlog_partition_find_seq(h->p, i, &f->by_seq[0], &f->by_seq[1]), 0);
        assert_int_equal(tlog_partition_find_pos(h->p, h->starts[i] + i % 3, &f->by_pos[0], &f->by_pos[1]), 0);
        assert_int_equal(tlog_partition_find_time(h->p, h->times[i], &f->by_time[0], &f->by_time[1]), 0);
        assert_int_equal(f->by_seq[0], h->starts[i]);
        assert_int_equal(f->by_seq[1], i);
        assert_true(f->by_time[0] <= h->starts[i]);
    }
}

static void test_finds_the_same(void **state)
{
    struct unit *u = *state;
    struct history *h = history(u);
    struct found *before = calloc(LINES, sizeof *before), *after = calloc(LINES, sizeof *after);
    uint64_t pos, seq;
    find_all(h, before);
    seal_all(u, h);
    find_all(h, after);
    assert_memory_equal(before, after, LINES * sizeof *before);
    unit_reopen(u);
    h->p = unit_get(u, "t", 0);
    memset(after, 0, LINES * sizeof *after);
    find_all(h, after);
    assert_memory_equal(before, after, LINES * sizeof *before);
    assert_int_equal(tlog_partition_find_time(h->p, INT64_MIN, &pos, &seq), 0);
    assert_int_equal(pos, 0);
    assert_int_equal(tlog_partition_find_time(h->p, INT64_MAX, &pos, &seq), 0);
    assert_int_equal(pos, h->bytes);
    assert_int_equal(seq, LINES);
    for (unsigned i = 0; i < h->p->segment_count; i++) { /* the first of each segment, from its header */
        assert_int_equal(tlog_segment_seq(h->p, h->p->segments[i].pos, &seq), 0);
        assert_int_equal(h->starts[seq], h->p->segments[i].pos);
    }
    assert_int_equal(tlog_segment_seq(h->p, 1, &seq), -ESTALE);
    free(before);
    free(after);
    forget(h);
}

static void test_finding_decompresses_one_frame(void **state)
{
    struct unit *u = *state;
    struct history *h = history(u);
    struct tlog_frames_status before, after;
    seal_all(u, h);
    tlog_frames_status(&u->store->ground.frames, &before);
    uint64_t pos;
    assert_int_equal(tlog_partition_find_seq(h->p, 100, &pos, NULL), 0);
    assert_int_equal(tlog_partition_find_time(h->p, h->times[50], &pos, NULL), 0);
    tlog_frames_status(&u->store->ground.frames, &after);
    assert_in_range(after.decompressed - before.decompressed, 1, 1);
    forget(h);
}

struct listed {
    struct tlog_entry *entries;
    size_t count;
};

static int list_one(void *arg, const struct tlog_entry *entry)
{
    struct listed *listed = arg;
    listed->entries = realloc(listed->entries, (listed->count + 1) * sizeof *entry);
    listed->entries[listed->count++] = *entry;
    return 0;
}

static void assert_lists(const struct history *h, const struct listed *expected)
{
    struct listed got = {0};
    assert_int_equal(tlog_partition_entries(h->p, list_one, &got), 0);
    assert_int_equal(got.count, expected->count);
    for (size_t i = 0; i < got.count; i++) {
        assert_int_equal(got.entries[i].chain, expected->entries[i].chain);
        assert_memory_equal(&got.entries[i], &expected->entries[i], sizeof *got.entries);
    }
    free(got.entries);
}

static int stop_at_third(void *arg, const struct tlog_entry *entry)
{
    (void)entry;
    return ++*(int *)arg == 3 ? 42 : 0;
}

static void test_lists_the_same_entries(void **state)
{
    struct unit *u = *state;
    struct history *h = history(u);
    struct listed before = {0};
    int count = 0;
    assert_int_equal(tlog_partition_entries(h->p, list_one, &before), 0);
    seal_all(u, h);
    assert_lists(h, &before);
    assert_int_equal(tlog_partition_entries(h->p, stop_at_third, &count), 42);
    unit_reopen(u);
    h->p = unit_get(u, "t", 0);
    assert_lists(h, &before);
    free(before.entries);
    forget(h);
}

/* ---- damage ---- */

static void count_line(void *arg, const char *line)
{
    assert_non_null(strstr(line, "t/0/"));
    ++*(unsigned *)arg;
}

static unsigned damages(struct unit *u)
{
    unsigned count = 0;
    tlog_store_damages(u->store, count_line, &count);
    return count;
}

static void test_a_corrupt_frame_fails_alone(void **state)
{
    struct unit *u = *state;
    enum { ZST_FRAME = 1 };
    char byte;
    struct tlog_handle *handle;
    struct history *h = history(u);
    seal_all(u, h);
    pthread_mutex_lock(&h->p->lock);
    assert_int_equal(tlog_segment_open(h->p, 0, &handle), 0);
    uint64_t foff = handle->sealed->frame_foffs[ZST_FRAME] + 1000;
    pthread_mutex_unlock(&h->p->lock);
    unit_flip(u, FIRST, foff);
    for (unsigned i = 0; i < 3; i++) {
        static char got[1 << 20];
        struct tlog_view view;
        assert_bytes(h, 0, TLOG_FRAME_BYTES);
        assert_bytes(h, 2 * TLOG_FRAME_BYTES, 1000);
        assert_int_equal(tlog_partition_read(h->p, TLOG_FRAME_BYTES, &byte, 1), -EIO);
        assert_int_equal(tlog_partition_read(h->p, 2 * TLOG_FRAME_BYTES - 1, &byte, 1), -EIO);
        assert_int_equal(tlog_partition_view(h->p, TLOG_FRAME_BYTES, 1, false, &view), -EIO);
        assert_null(view.hold);
        assert_int_equal(tlog_partition_read(h->p, 100, got, sizeof got), TLOG_FRAME_BYTES - 100); /* up to it */
    }
    assert_int_equal(damages(u), 1); /* told once */
    assert_non_null(strstr(u->notes, "t/0/00000000000000000000.zst: frame 1 "));
    assert_null(strstr(strstr(u->notes, "frame 1 ") + 1, "frame 1 "));
    unit_flip(u, FIRST, foff); /* it was the disk's mistake: nothing of it was kept */
    assert_bytes(h, 0, h->bytes);
    forget(h);
}

static void test_a_disk_that_does_not_answer(void **state)
{
    struct unit *u = *state;
    struct history *h = history(u);
    char byte;
    seal_all(u, h);
    assert_bytes(h, 0, 1);
    simdisk_fail(u->disk, 1U << SIM_READ, 0, EIO, false);
    assert_int_equal(tlog_partition_read(h->p, TLOG_FRAME_BYTES, &byte, 1), -EIO);
    assert_bytes(h, TLOG_FRAME_BYTES, 1);
    assert_int_equal(damages(u), 1);
    forget(h);
}

static void test_files_that_are_missing_or_damaged(void **state)
{
    struct unit *u = *state;
    struct history *h = history(u);
    struct tlog_segment_file *file;
    char name[100], byte;
    seal_all(u, h);
    /* Somebody took the raw files of a segment that has both: the other form is read. */
    uint64_t pos = h->p->segments[1].pos;
    snprintf(name, sizeof name, "topics/t/0/%020" PRIu64 ".log", pos);
    pthread_mutex_lock(&h->p->lock);
    tlog_handles_close(&h->p->ground->handles, &h->p->segments[1].handle); /* as it may happen any time */
    pthread_mutex_unlock(&h->p->lock);
    unit_unlink(u, name);
    assert_bytes(h, pos, SEGMENT / 2);
    assert_int_equal(h->p->segments[1].forms, TLOG_SEALED);
    /* A .zst that is not there, and one whose end is damaged. */
    pos = h->p->segments[2].pos;
    snprintf(name, sizeof name, "topics/t/0/%020" PRIu64 ".zst", pos);
    unit_unlink(u, name);
    assert_int_equal(tlog_partition_read(h->p, pos, &byte, 1), -EIO);
    assert_int_equal(tlog_segment_file_open(h->p, pos, &file), -ENOENT);
    unit_flip(u, FIRST, unit_size(u, FIRST) - 1);
    assert_int_equal(tlog_partition_read(h->p, 0, &byte, 1), -EIO);
    assert_int_equal(damages(u), 2);
    assert_bytes(h, h->p->segments[3].pos, h->bytes);
    forget(h);
}

static void close_all(struct history *h)
{
    pthread_mutex_lock(&h->p->lock);
    for (unsigned i = 0; i < h->p->segment_count; i++)
        tlog_handles_close(&h->p->ground->handles, &h->p->segments[i].handle);
    pthread_mutex_unlock(&h->p->lock);
}

/* Reads, finds and lists with nothing open; what succeeds must be right. Whether all of it succeeded. */
static bool try_all(const struct history *h, uint64_t pos, const struct listed *expected)
{
    enum { LENGTH = 5000 };
    static char got[LENGTH];
    uint64_t seq, at;
    struct tlog_segment_file *file;
    struct listed listed = {0};
    ssize_t n = tlog_partition_read(h->p, pos, got, LENGTH);
    bool whole = n == LENGTH;
    assert_memory_equal(got, h->text + pos, n > 0 ? (size_t)n : 0);
    int r = tlog_partition_find_seq(h->p, LINES / 3, &at, &seq);
    whole = whole && r == 0;
    assert_true(r < 0 || (seq == LINES / 3 && at == h->starts[seq]));
    r = tlog_partition_find_time(h->p, h->times[LINES / 2], &at, &seq);
    whole = whole && r == 0;
    assert_true(r < 0 || (seq <= LINES / 2 && at == h->starts[seq]));
    r = tlog_segment_file_open(h->p, h->p->segments[0].pos, &file);
    if (r == 0)
        tlog_segment_file_close(file);
    whole = whole && r == 0;
    r = tlog_partition_entries(h->p, list_one, &listed);
    whole = whole && r == 0;
    assert_true(r < 0 || listed.count == expected->count);
    for (size_t i = 0; i < listed.count; i++)
        assert_int_equal(listed.entries[i].chain, expected->entries[i].chain);
    free(listed.entries);
    return whole;
}

/* Whichever operation of the disk fails, nothing wrong is told, and the next try has nothing of it. */
static void test_any_refusal(void **state)
{
    struct unit *u = *state;
    static const int errors[] = {EIO, EMFILE};
    struct history *h = history(u);
    struct listed expected = {0};
    assert_int_equal(tlog_partition_entries(h->p, list_one, &expected), 0);
    seal_all(u, h);
    for (unsigned which = 0; which < 2; which++) {
        bool struck = true;
        uint64_t skip = 0;
        for (; struck; skip++) {
            close_all(h);
            simdisk_fail(u->disk, SIM_ALL, skip, errors[which], false);
            uint64_t pos = skip * 97801 % (h->bytes - 5000);
            bool whole = try_all(h, pos, &expected);
            struck = simdisk_failed(u->disk);
            simdisk_fail(u->disk, 0, 0, 0, false);
            assert_true(struck != whole);
            if (skip % 16 == 0)
                assert_true(try_all(h, pos, &expected));
        }
        assert_true(skip > 20);
    }
    free(expected.entries);
    forget(h);
}

/* ---- the cache ---- */

static void test_the_cache_is_bounded(void **state)
{
    struct unit *u = *state;
    enum { VIEWS = TLOG_FRAMES_MOST + 2 };
    struct tlog_view views[VIEWS];
    struct tlog_frames_status status;
    struct tlog_store_status told;
    char byte;
    unit_open(u);
    struct tlog_frames *frames = &u->store->ground.frames;
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=1K");
    unit_lines(p, 0, 10 * VIEWS + 1, 100); /* a frame a segment */
    assert_int_equal(tlog_store_sync(u->store), 0);
    assert_int_equal(p->segment_count, VIEWS + 1);
    for (unsigned i = 0; i < VIEWS; i++) {
        unit_seal_live(u, p, p->segments[i].pos, false);
        assert_int_equal(tlog_partition_view(p, p->segments[i].pos, 10, false, &views[i]), 0);
        tlog_frames_status(frames, &status);
        assert_int_equal(status.frames, i + 1); /* as many as are held; the last ones only after a wait */
    }
    assert_int_equal(status.decompressed, VIEWS);
    for (unsigned i = 0; i < VIEWS; i++)
        tlog_view_release(&views[i]);
    tlog_frames_status(frames, &status);
    assert_int_equal(status.frames, TLOG_FRAMES_KEPT);
    for (unsigned round = 0; round < 3; round++) /* what fits is decompressed once */
        for (unsigned i = 0; i < TLOG_FRAMES_KEPT; i++)
            assert_int_equal(tlog_partition_read(p, p->segments[i].pos, &byte, 1), 1);
    for (unsigned i = 0; i < VIEWS; i++) /* the others in turn */
        assert_int_equal(tlog_partition_read(p, p->segments[i].pos, &byte, 1), 1);
    tlog_frames_status(frames, &status);
    assert_in_range(status.decompressed, VIEWS + VIEWS - TLOG_FRAMES_KEPT, VIEWS + VIEWS);
    assert_int_equal(status.frames, TLOG_FRAMES_KEPT);
    tlog_store_status(u->store, &told);
    assert_int_equal(told.frames, status.frames);
    assert_int_equal(told.frames_found, status.found);
    assert_int_equal(told.frames_decompressed, status.decompressed);
}

static void test_few_open_files(void **state)
{
    struct unit *u = *state;
    enum { PARTITIONS = 8, MAX = 24 };
    struct tlog_partition *p[PARTITIONS];
    struct tlog_view held[PARTITIONS];
    u->options.max_files = MAX;
    unit_open(u);
    unsigned others = u->disk ? simdisk_open_files(u->disk) : 0;
    for (unsigned i = 0; i < PARTITIONS; i++) {
        p[i] = unit_partition(u, "t", i);
        unit_config(u, "t", "segment.bytes=2K");
        unit_lines(p[i], 0, 200, 100);
        assert_int_equal(tlog_store_sync(u->store), 0);
        assert_int_equal(p[i]->segment_count, 10);
        for (unsigned k = 0; k < 9; k++)
            unit_seal_live(u, p[i], p[i]->segments[k].pos, false);
        assert_int_equal(tlog_partition_view(p[i], 0, 100, false, &held[i]), 0);
    }
    char *expected = unit_lines_text(0, 200, 100);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < PARTITIONS; i++) {
            uint64_t seq;
            unit_assert_text(p[i], expected);
            assert_int_equal(tlog_partition_find_seq(p[i], 77, NULL, &seq), 0);
            assert_int_equal(seq, 77);
            assert_int_equal(unit_entries(p[i]), unit_entries(p[0]));
            struct tlog_store_status status;
            tlog_store_status(u->store, &status);
            assert_in_range(status.open_files, 1, MAX);
            if (u->disk)
                assert_in_range(simdisk_open_files(u->disk), 1, MAX + others + 4); /* and the journal's */
        }
    for (unsigned i = 0; i < PARTITIONS; i++) { /* frames outlive the files that they came from */
        assert_memory_equal(held[i].data, expected, 100);
        tlog_view_release(&held[i]);
    }
    free(expected);
}

/* Deleted with a view held: what is held stays, and the trash serves the rest. */
static void test_a_view_outlives_deletion(void **state)
{
    struct unit *u = *state;
    struct history *h = history(u);
    struct tlog_view view;
    seal_all(u, h);
    assert_int_equal(tlog_partition_view(h->p, 10, 5000, false, &view), 0);
    struct tlog_topic *topic = unit_topic(u, "t");
    assert_int_equal(tlog_topic_remove(topic, true), 0);
    assert_memory_equal(view.data, h->text + 10, 5000);
    assert_bytes(h, 0, h->bytes);
    tlog_view_release(&view);
    forget(h);
}

/* A view of the raw file, whose segment is sealed and the file removed meanwhile. */
static void test_a_view_outlives_the_raw_files(void **state)
{
    struct unit *u = *state;
    struct history *h = history(u);
    struct tlog_view view;
    assert_int_equal(tlog_partition_view(h->p, 10, 5000, false, &view), 0);
    unit_seal_live(u, h->p, 0, false);
    assert_false(unit_exists(u, "topics/t/0/00000000000000000000.log"));
    assert_bytes(h, 0, h->bytes);
    assert_memory_equal(view.data, h->text + 10, 5000);
    tlog_view_release(&view);
    forget(h);
}

/* ---- segments from outside ---- */

static void test_segments_and_their_files(void **state)
{
    struct unit *u = *state;
    struct history *h = history(u);
    struct tlog_segment_info *infos;
    struct tlog_segment_file *file;
    size_t count;
    uint64_t raw_bytes = unit_bounds(h->p).disk_bytes;
    assert_int_equal(unit_bounds(h->p).sealed_bytes, 0);
    for (unsigned i = 0; i + 1 < h->p->segment_count; i++)
        unit_seal_live(u, h->p, h->p->segments[i].pos, true);
    assert_int_equal(unit_bounds(h->p).sealed_bytes, tlog_active(h->p)->pos);
    assert_true(unit_bounds(h->p).disk_bytes > raw_bytes); /* both forms count */
    struct tlog_pin pin;                                   /* what is trimmed and pinned is no part of the log */
    uint64_t second = h->p->segments[1].pos;
    assert_int_equal(tlog_partition_pin(h->p, 0, &pin), 0);
    assert_int_equal(tlog_partition_trim(h->p, second, NULL), 0);
    assert_int_equal(unit_bounds(h->p).sealed_bytes, tlog_active(h->p)->pos - second);
    tlog_pin_release(&pin);
    unit_reopen(u);
    h->p = unit_get(u, "t", 0);
    assert_int_equal(tlog_partition_segments(h->p, &infos, &count), 0);
    assert_int_equal(count, h->p->segment_count);
    uint64_t disk_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(infos[i].pos, h->p->segments[i].pos);
        assert_int_equal(infos[i].end, i + 1 < count ? infos[i + 1].pos : h->bytes);
        assert_int_equal(infos[i].sealed, i + 1 < count);
        disk_bytes += infos[i].disk_bytes;
        if (!infos[i].sealed) {
            assert_int_equal(tlog_segment_file_open(h->p, infos[i].pos, &file), -ENOENT);
            continue;
        }
        char name[100];
        size_t bytes;
        snprintf(name, sizeof name, "topics/t/0/%020" PRIu64 ".zst", infos[i].pos);
        char *expected = unit_file(u, name, &bytes), *got = malloc(bytes + 100);
        assert_int_equal(infos[i].file_bytes, bytes);
        assert_true(infos[i].mtime_ns > 0);
        assert_int_equal(tlog_segment_file_open(h->p, infos[i].pos, &file), 0);
        unit_unlink(u, name); /* trimmed meanwhile */
        assert_int_equal(tlog_segment_file_read(file, 0, got, bytes + 100), bytes);
        assert_memory_equal(got, expected, bytes);
        assert_int_equal(tlog_segment_file_read(file, bytes - 3, got, 100), 3);
        assert_int_equal(tlog_segment_file_read(file, bytes, got, 100), 0);
        tlog_segment_file_close(file);
        free(expected);
        free(got);
    }
    assert_int_equal(unit_bounds(h->p).disk_bytes, disk_bytes);
    assert_int_equal(unit_bounds(h->p).segments, count);
    assert_int_equal(tlog_segment_file_open(h->p, 1, &file), -ENOENT);
    free(infos);
    forget(h);
}

/* What bounds tell is what du finds. */
static void test_disk_bytes_are_true(void **state)
{
    struct unit *u = *state;
    struct history *h = history(u);
    for (unsigned round = 0; round < 3; round++) {
        if (round < 2)
            for (unsigned i = 0; i + 1 < h->p->segment_count; i++)
                if (round == 0)
                    unit_seal_live(u, h->p, h->p->segments[i].pos, true);
        if (round == 1)
            for (unsigned i = 0; i + 1 < h->p->segment_count; i++) {
                char name[100];
                uint64_t pos = h->p->segments[i].pos;
                pthread_mutex_lock(&h->p->lock);
                tlog_segment_form(h->p, i, TLOG_RAW, NULL);
                pthread_mutex_unlock(&h->p->lock);
                snprintf(name, sizeof name, "topics/t/0/%020" PRIu64 ".log", pos);
                unit_unlink(u, name);
                snprintf(name, sizeof name, "topics/t/0/%020" PRIu64 ".idx", pos);
                unit_unlink(u, name);
            }
        uint64_t disk_bytes = 0;
        for (unsigned i = 0; i < h->p->segment_count; i++)
            for (unsigned k = 0; k < 3; k++) {
                char name[200];
                struct tlog_io_stat st;
                snprintf(name, sizeof name, "%s/topics/t/0/%020" PRIu64 ".%s", u->path, h->p->segments[i].pos,
                         (const char *[]){"log", "idx", "zst"}[k]);
                if (u->io->stat_path(u->io, name, &st) == 0)
                    disk_bytes += st.disk_bytes;
            }
        int64_t off = (int64_t)unit_bounds(h->p).disk_bytes - (int64_t)disk_bytes;
        assert_in_range(off + (64 << 10), 0, 128 << 10); /* the active one is reckoned, a rest may be reserved */
        if (round == 1) {
            unit_reopen(u);
            h->p = unit_get(u, "t", 0);
        }
    }
    forget(h);
}

/* ---- threads ---- */

struct reader {
    pthread_t thread;
    const struct history *h;
    uint64_t random;
    bool in_order;
    atomic_bool *stop;
    atomic_uint *failures;
    uint64_t rounds;
};

static bool reads_right(const struct history *h, uint64_t pos, size_t length, bool sequential, char *buffer)
{
    struct tlog_view view;
    if (length > h->bytes - pos) /* what others append is not ours to know */
        length = h->bytes - pos;
    if (tlog_partition_view(h->p, pos, length, sequential, &view) != 0 || view.length == 0)
        return false;
    bool right = memcmp(view.data, h->text + pos, view.length) == 0;
    tlog_view_release(&view);
    return right && tlog_partition_read(h->p, pos, buffer, length) == (ssize_t)length &&
           memcmp(buffer, h->text + pos, length) == 0;
}

static void *read_on(void *arg)
{
    struct reader *reader = arg;
    const struct history *h = reader->h;
    char *buffer = malloc(400 << 10);
    uint64_t pos = 0, seq;
    for (; !atomic_load(reader->stop) || reader->rounds == 0; reader->rounds++) {
        size_t length = 1 + next_random(&reader->random) % (400 << 10);
        if (!reader->in_order || pos >= h->bytes)
            pos = next_random(&reader->random) % (h->bytes > 0 ? h->bytes : 1);
        if (!reads_right(h, pos, length, reader->in_order, buffer))
            atomic_fetch_add(reader->failures, 1);
        pos += length;
        uint64_t line = next_random(&reader->random) % LINES, at;
        if (tlog_partition_find_seq(h->p, line, &at, &seq) != 0 || at != h->starts[line] || seq != line)
            atomic_fetch_add(reader->failures, 1);
    }
    free(buffer);
    return NULL;
}

static void with_readers(struct history *h, void (*meanwhile)(struct unit *u, struct history *h), struct unit *u)
{
    enum { READERS = 6 };
    struct reader readers[READERS];
    atomic_bool stop = false;
    atomic_uint failures = 0;
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.h = h, .random = i + 1, .in_order = i % 2, .stop = &stop, .failures = &failures};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_on, &readers[i]), 0);
    }
    meanwhile(u, h);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i].thread, NULL);
    assert_int_equal(atomic_load(&failures), 0);
}

static void seal_slowly(struct unit *u, struct history *h)
{
    for (unsigned i = 0; i + 1 < h->p->segment_count; i++)
        unit_seal_live(u, h->p, h->p->segments[i].pos, i == 1);
    unit_seal_live(u, h->p, h->p->segments[1].pos, false);
}

static void append_meanwhile(struct unit *u, struct history *h)
{
    (void)u;
    unit_lines(h->p, 0, 2000, 100);
}

/* The segments become sealed, and lose their raw files, under those who read them; then they are read sealed while
 * others append. With read-ahead. */
static void test_readers_of_segments_that_change(void **state)
{
    struct unit *u = *state;
    u->options.no_upkeep = false;
    u->options.max_files = 16;
    struct history *h = history(u);
    with_readers(h, seal_slowly, u);
    with_readers(h, append_meanwhile, u);
    struct tlog_frames_status status;
    tlog_frames_status(&u->store->ground.frames, &status);
    assert_true(status.found > 0);
    assert_in_range(status.frames, 1, TLOG_FRAMES_KEPT);
    assert_string_equal(u->notes, "");
    forget(h);
}

/* Several who read the same at the same time: each frame is decompressed once. */
static void *read_through(void *arg)
{
    struct reader *reader = arg;
    const struct history *h = reader->h;
    struct tlog_view view;
    for (uint64_t pos = 0; pos < h->bytes; pos += view.length) {
        if (tlog_partition_view(h->p, pos, 100000, true, &view) != 0 || view.length == 0 ||
            memcmp(view.data, h->text + pos, view.length) != 0) {
            atomic_fetch_add(reader->failures, 1);
            return NULL;
        }
        tlog_view_release(&view);
    }
    return NULL;
}

static void test_a_frame_is_decompressed_once(void **state)
{
    struct unit *u = *state;
    enum { READERS = 4 };
    struct reader readers[READERS];
    struct tlog_frames_status status;
    atomic_uint failures = 0;
    unsigned frames = 0;
    u->options.no_upkeep = false;
    struct history *h = history(u);
    for (unsigned i = 0; i + 1 < h->p->segment_count; i++) {
        unit_seal_live(u, h->p, h->p->segments[i].pos, false);
        frames +=
            (unsigned)((h->p->segments[i + 1].pos - h->p->segments[i].pos + TLOG_FRAME_BYTES - 1) / TLOG_FRAME_BYTES);
    }
    assert_in_range(frames, 6, TLOG_FRAMES_KEPT);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.h = h, .failures = &failures};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_through, &readers[i]), 0);
    }
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i].thread, NULL);
    assert_int_equal(atomic_load(&failures), 0);
    tlog_frames_status(&u->store->ground.frames, &status);
    assert_int_equal(status.decompressed, frames);
    assert_true(u->store->ground.frames.runs); /* some of it was read ahead */
    forget(h);
}

/* ---- everything at once ---- */

enum { LINE_BYTES = 20, APPEND_LINES = 200 };

struct life {
    struct tlog_partition *p;
    atomic_bool stop;
    atomic_uint failures;
};

static void *append_on(void *arg)
{
    struct life *life = arg;
    char text[APPEND_LINES * LINE_BYTES + 1];
    for (uint64_t number = 0; !atomic_load(&life->stop);) {
        for (unsigned i = 0; i < APPEND_LINES; i++, number++)
            snprintf(text + i * LINE_BYTES, LINE_BYTES + 1, "%019" PRIu64 "\n", number);
        if (tlog_partition_append(life->p, text, APPEND_LINES * LINE_BYTES, APPEND_LINES) != 0)
            atomic_fetch_add(&life->failures, 1);
        if (number % (APPEND_LINES * 64) == 0)
            (void)tlog_partition_sync_wait(life->p);
    }
    return NULL;
}

/* Each byte of the log follows from its position. */
static bool is_right(uint64_t pos, const char *text, size_t length)
{
    char line[LINE_BYTES + 1];
    for (size_t i = 0; i < length; i++) {
        if (i == 0 || (pos + i) % LINE_BYTES == 0)
            snprintf(line, sizeof line, "%019" PRIu64 "\n", (pos + i) / LINE_BYTES);
        if (text[i] != line[(pos + i) % LINE_BYTES])
            return false;
    }
    return true;
}

static void look_at(struct life *life, uint64_t pos, uint64_t seq, bool sequential)
{
    struct tlog_view view;
    uint64_t found_pos, found_seq;
    int r = tlog_partition_view(life->p, pos, 100000, sequential, &view);
    bool good = r == 0 && view.length > 0 && is_right(pos, view.data, view.length);
    tlog_view_release(&view);
    if (!good && !(r == -ESTALE && pos < unit_bounds(life->p).start))
        atomic_fetch_add(&life->failures, 1);
    r = tlog_partition_find_seq(life->p, seq, &found_pos, &found_seq);
    bool found = r == 0 && found_pos == found_seq * LINE_BYTES && found_seq >= seq;
    if (!found || (found_seq > seq && unit_bounds(life->p).start_seq < found_seq))
        atomic_fetch_add(&life->failures, 1);
}

static void *look_on(void *arg)
{
    struct life *life = arg;
    uint64_t random = (uint64_t)(uintptr_t)&random | 1, pos = 0;
    while (!atomic_load(&life->stop)) {
        struct tlog_bounds bounds = unit_bounds(life->p);
        if (bounds.end == bounds.start)
            continue;
        bool sequential = next_random(&random) % 4 != 0 && pos >= bounds.start && pos < bounds.end;
        if (!sequential)
            pos = bounds.start + next_random(&random) % (bounds.end - bounds.start);
        look_at(life, pos, bounds.start_seq + next_random(&random) % (bounds.end_seq - bounds.start_seq), sequential);
        pos += 100000;
    }
    return NULL;
}

static bool has_lived(void *arg)
{
    struct life *life = arg;
    struct tlog_bounds bounds = unit_bounds(life->p);
    if (bounds.end > bounds.start + (600 << 10)) /* the head goes */
        assert_int_equal(tlog_partition_trim(life->p, bounds.end - (300 << 10), NULL), 0);
    return bounds.start > (4 << 20) && bounds.sealed_bytes > 0;
}

/* A producer, segments that are sealed and lose their raw files by themselves, a head that is trimmed, few open files,
 * and readers in all of it. */
static void test_readers_while_all_goes_on(void **state)
{
    struct unit *u = *state;
    enum { READERS = 4 };
    struct life life = {0};
    pthread_t writer, readers[READERS];
    u->options.no_upkeep = false;
    u->options.max_files = 16;
    unit_open(u);
    life.p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=64K\nseal.linger.ms=0\nflush.ms=100\npin.bytes=0\n");
    assert_int_equal(pthread_create(&writer, NULL, append_on, &life), 0);
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, look_on, &life), 0);
    unit_wait(has_lived, &life);
    atomic_store(&life.stop, true);
    pthread_join(writer, NULL);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    assert_int_equal(atomic_load(&life.failures), 0);
    assert_int_equal(damages(u), 0);
    assert_true(u->store->ground.frames.decompressed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_any_offset_any_size),
        UNIT_BOTH(test_finds_the_same),
        UNIT_SIM(test_finding_decompresses_one_frame),
        UNIT_BOTH(test_lists_the_same_entries),
        UNIT_BOTH(test_a_corrupt_frame_fails_alone),
        UNIT_SIM(test_a_disk_that_does_not_answer),
        UNIT_BOTH(test_files_that_are_missing_or_damaged),
        UNIT_SIM(test_any_refusal),
        UNIT_SIM(test_the_cache_is_bounded),
        UNIT_BOTH(test_few_open_files),
        UNIT_BOTH(test_a_view_outlives_deletion),
        UNIT_BOTH(test_a_view_outlives_the_raw_files),
        UNIT_BOTH(test_segments_and_their_files),
        UNIT_REAL(test_disk_bytes_are_true),
        UNIT_REAL(test_readers_of_segments_that_change),
        UNIT_REAL(test_a_frame_is_decompressed_once),
        UNIT_REAL(test_readers_while_all_goes_on),
    };

    return cmocka_run_group_tests_name("read_sealed", tests, NULL, NULL);
}
