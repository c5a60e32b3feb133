/* Sealing: which segments, when, what it leaves on disk, and what comes in between. */
#include "unit.h"

#include "log/sealed.h"

#define DIR   "topics/t/0/"
#define FIRST DIR "00000000000000000000"

enum { LINE = 100, LINES = 1000, FULL = 6 /* of 7 segments */ };

/* A thousand lines in segments of 16 KiB, synced. */
static struct tlog_partition *fill(struct unit *u, const char *config)
{
    char text[256];
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    snprintf(text, sizeof text, "segment.bytes=16KiB\n%s", config);
    unit_config(u, "t", text);
    unit_lines(p, 0, LINES, LINE);
    assert_int_equal(tlog_store_sync(u->store), 0);
    return p;
}

static void assert_lines(struct tlog_partition *p)
{
    char *text = unit_lines_text(0, LINES, LINE);
    unit_assert_text(p, text);
    free(text);
}

static unsigned files(struct unit *u, const char *suffix)
{
    unsigned count = 0;
    struct tlog_segment_info *segments;
    size_t n;
    struct tlog_topic *topic = tlog_topic_get(u->store, "t");
    struct tlog_partition *p = tlog_partition_get(topic, 0);
    assert_int_equal(tlog_partition_segments(p, &segments, &n), 0);
    tlog_partition_unref(p);
    tlog_topic_unref(topic);
    for (size_t i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, DIR "%020" PRIu64 "%s", segments[i].pos, suffix);
        count += unit_exists(u, name);
    }
    free(segments);
    return count;
}

static struct tlog_store_status status(struct unit *u)
{
    struct tlog_store_status out;
    tlog_store_status(u->store, &out);
    return out;
}

static void one_damage(void *arg, const char *line)
{
    snprintf(arg, 512, "%s", line);
}

static const char *damage(struct unit *u)
{
    static char line[512];
    line[0] = 0;
    tlog_store_damages(u->store, one_damage, line);
    return line;
}

/* ---- when, and what is left ---- */

static void test_full_and_synced(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=16KiB\n");
    unit_lines(p, 0, LINES, LINE);
    (void)tlog_store_maintain(u->store);
    assert_int_equal(files(u, ".zst"), 0); /* nothing is synced yet */
    assert_int_equal(status(u).unsealed_segments, FULL);
    assert_true(status(u).unsealed_ns > 0);
    assert_int_equal(tlog_store_sync(u->store), 0);
    assert_true(tlog_store_maintain(u->store) > 0);
    struct tlog_bounds bounds = unit_bounds(p);
    assert_int_equal(files(u, ".zst"), FULL);
    assert_int_equal(files(u, ".log"), FULL + 1);
    assert_int_equal(unit_count(u, "topics/t/0", "0"), 3 * FULL + 2); /* and nothing else */
    assert_true(bounds.sealed_bytes > 90000 && bounds.sealed_bytes < 100000);
    assert_int_equal(status(u).unsealed_segments, 0);
    assert_int_equal(status(u).unsealed_ns, 0);
    assert_string_equal(status(u).sealing, "");
    assert_lines(p);
}

static void test_raw_files_linger(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = fill(u, "seal.linger.ms=1h\n");
    int64_t next_ns = tlog_store_maintain(u->store);
    assert_true(next_ns > 3500 * INT64_C(1000000000) && next_ns <= 3600 * INT64_C(1000000000));
    unit_advance(u, 3500000);
    (void)tlog_store_maintain(u->store);
    assert_int_equal(files(u, ".log"), FULL + 1);
    uint64_t disk_bytes = unit_bounds(p).disk_bytes;
    unit_reopen(u); /* a restart does not begin the hour anew */
    p = unit_get(u, "t", 0);
    unit_advance(u, 101000);
    (void)tlog_store_maintain(u->store);
    assert_int_equal(files(u, ".log"), 1);
    assert_int_equal(files(u, ".idx"), 1);
    assert_int_equal(files(u, ".zst"), FULL);
    assert_true(unit_bounds(p).disk_bytes < disk_bytes / 2);
    assert_lines(p);
}

static void test_nothing_lingers(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = fill(u, "seal.linger.ms=0\n");
    assert_true(tlog_store_maintain(u->store) != 0);
    assert_int_equal(files(u, ".log"), 1);
    assert_int_equal(unit_count(u, "topics/t/0", "0"), FULL + 2);
    assert_lines(p);
    unsigned entries = unit_entries(p);
    unit_lines(p, LINES, 10, LINE); /* it goes on */
    unit_reopen(u);
    p = unit_get(u, "t", 0);
    assert_int_equal(unit_entries(p), entries + 1);
    char *text = unit_lines_text(0, LINES + 10, LINE);
    unit_assert_text(p, text);
    free(text);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
    assert_int_equal(unit_verified.records, LINES + 10);
}

/* The topic says how: none is the same file, its frames the bytes as they are. */
static void test_type_and_level(void **state)
{
    struct unit *u = *state;
    uint64_t sizes[3];
    static const char *const configs[] = {"compression.type=none\n", "compression.level=1\n", "compression.level=19\n"};
    for (unsigned i = 0; i < 3; i++) {
        char config[64];
        snprintf(config, sizeof config, "seal.linger.ms=0\n%s", configs[i]);
        struct tlog_partition *p = fill(u, config);
        (void)tlog_store_maintain(u->store);
        assert_int_equal(files(u, ".log"), 1);
        assert_lines(p);
        sizes[i] = unit_size(u, FIRST ".zst");
        assert_int_equal(tlog_topic_remove(unit_topic(u, "t"), true), 0);
        unit_close(u);
    }
    assert_true(sizes[0] > 16300 && sizes[1] < 1000 && sizes[2] < 1000 && sizes[1] != sizes[2]);
}

static void test_an_old_segment_rolls(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.ms=1h\n");
    (void)tlog_store_maintain(u->store);
    assert_int_equal(unit_bounds(p).segments, 1);
    unit_append(p, "one\n");
    int64_t next_ns = tlog_store_maintain(u->store);
    assert_true(next_ns > 3599 * INT64_C(1000000000) && next_ns <= 3600 * INT64_C(1000000000));
    unit_advance(u, 3599000);
    (void)tlog_store_maintain(u->store);
    assert_int_equal(unit_bounds(p).segments, 1);
    unit_advance(u, 1001);
    (void)tlog_store_maintain(u->store);
    assert_int_equal(unit_bounds(p).segments, 2);
    assert_true(unit_exists(u, FIRST ".zst"));
    unit_advance(u, 7200000); /* an empty one does not */
    (void)tlog_store_maintain(u->store);
    assert_int_equal(unit_bounds(p).segments, 2);
    unit_assert_text(p, "one\n");
}

/* ---- damage ---- */

static void test_damaged_data_stays_raw(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = fill(u, "");
    unit_flip(u, FIRST ".log", 5000);
    for (unsigned i = 0; i < 3; i++) /* and is told once */
        (void)tlog_store_maintain(u->store);
    assert_false(unit_exists(u, FIRST ".zst") || unit_exists(u, FIRST ".zst.new"));
    assert_int_equal(files(u, ".zst"), FULL - 1);
    assert_string_equal(damage(u), "t/0: segment 0: position 4100: bad chain: the data or the entry was changed");
    assert_non_null(strstr(u->notes, damage(u)));
    assert_null(strstr(strstr(u->notes, damage(u)) + 1, damage(u)));
    assert_int_equal(unit_bounds(p).sealed_bytes, (FULL - 1) * 16300);
}

static void test_a_sealed_file_that_went_bad(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = fill(u, "seal.linger.ms=1h\n");
    (void)tlog_store_maintain(u->store);
    unit_flip(u, FIRST ".zst", unit_size(u, FIRST ".zst") - 3); /* before the raw files have gone */
    unit_advance(u, 3601000);
    (void)tlog_store_maintain(u->store);
    assert_string_equal(damage(u),
                        "t/0: segment 0: sealed file: its end is missing or damaged: sealed again from the raw files");
    assert_int_equal(files(u, ".zst"), FULL);
    assert_int_equal(files(u, ".log"), 2); /* the hour begins anew for this one */
    unit_advance(u, 3601000);
    (void)tlog_store_maintain(u->store);
    assert_int_equal(files(u, ".log"), 1);
    assert_lines(p);
}

/* ---- disks ---- */

static void test_a_full_disk(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = fill(u, "seal.linger.ms=0\n");
    simdisk_resize(u->disk, simdisk_used_bytes(u->disk) + 8192, 1000);
    for (unsigned i = 0; i < 3; i++) {
        int64_t next_ns = tlog_store_maintain(u->store);
        assert_true(next_ns > 0 && next_ns <= 60 * INT64_C(1000000000));
        unit_advance(u, 60000);
    }
    assert_int_equal(unit_count(u, "topics/t/0", "0"), 2 * FULL + 2); /* nothing half done is left */
    const char *told = strstr(u->notes, "sealing full segments: No space left on device");
    assert_non_null(told);
    assert_null(strstr(told + 1, "sealing full segments"));
    assert_string_equal(damage(u), "");
    simdisk_resize(u->disk, 1 << 30, 1000);
    (void)tlog_store_maintain(u->store);
    assert_int_equal(unit_count(u, "topics/t/0", "0"), FULL + 2);
    assert_lines(p);
}

/* Whatever operation fails, the log stays as it is, and the next round makes good. */
static void test_any_refusal(void **state)
{
    struct unit *u = *state;
    static const int errors[] = {ENOSPC, EIO, EMFILE};
    for (unsigned which = 0; which < 3; which++) {
        bool struck = true;
        for (uint64_t skip = 0; struck; skip++) {
            struct tlog_partition *p = fill(u, "segment.bytes=64KiB\nseal.linger.ms=0\ntrash.retention.ms=0\n");
            simdisk_fail(u->disk, SIM_ALL & ~(1U << SIM_MAP), skip, errors[which], false);
            (void)tlog_store_maintain(u->store);
            struck = simdisk_failed(u->disk);
            simdisk_fail(u->disk, 0, 0, 0, false);
            assert_lines(p);
            unit_reopen(u);
            p = unit_get(u, "t", 0);
            unit_advance(u, 60000);
            (void)tlog_store_maintain(u->store);
            assert_int_equal(unit_count(u, "topics/t/0", "0"), 1 + 2);
            assert_lines(p);
            assert_int_equal(tlog_topic_remove(unit_topic(u, "t"), true), 0);
            (void)tlog_store_maintain(u->store); /* leaves no trash: the next turn is as long as this one */
            unit_close(u);
            assert_string_equal(unit_verify(u), "");
        }
    }
}

/* ---- what comes in between: the sealing of the first segment waits in its sync ---- */

static void *maintain(void *arg)
{
    pthread_mutex_lock(&unit_gate.lock);
    unit_gate.one_thread = true;
    unit_gate.thread = pthread_self();
    unit_gate.shut = true;
    pthread_mutex_unlock(&unit_gate.lock);
    (void)tlog_store_maintain(arg);
    return NULL;
}

static pthread_t held_back(struct unit *u)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, maintain, u->store), 0);
    unit_gate_wait(1);
    assert_true(unit_exists(u, FIRST ".zst.new"));
    assert_string_equal(status(u).sealing, "t/0: segment 0");
    return thread;
}

static void go_on(pthread_t thread)
{
    unit_gate_shut(false);
    pthread_join(thread, NULL);
}

static void test_appends_do_not_wait(void **state)
{
    struct unit *u = *state;
    unit_gate_use(u);
    struct tlog_partition *p = fill(u, "");
    pthread_t thread = held_back(u);
    unit_lines(p, LINES, 500, LINE); /* and rolls */
    char *text = unit_lines_text(0, LINES + 500, LINE);
    unit_assert_text(p, text);
    free(text);
    go_on(thread);
    assert_int_equal(files(u, ".zst"), FULL);
}

static void test_renamed_meanwhile(void **state)
{
    struct unit *u = *state;
    unit_gate_use(u);
    struct tlog_partition *p = fill(u, "");
    pthread_t thread = held_back(u);
    assert_int_equal(tlog_topic_rename(unit_topic(u, "t"), "other"), 0);
    struct tlog_partition *new = unit_partition(u, "t", 0);
    go_on(thread);
    assert_int_equal(unit_count(u, "topics/other/0", "0"), 3 * FULL + 2);
    assert_int_equal(unit_count(u, "topics/t/0", "0"), 2);
    assert_lines(p);
    unit_assert_text(new, "");
}

static void test_trimmed_meanwhile(void **state)
{
    struct unit *u = *state;
    unit_gate_use(u);
    struct tlog_partition *p = fill(u, "");
    pthread_t thread = held_back(u);
    pthread_mutex_lock(&p->lock);
    uint64_t second = p->segments[1].pos;
    pthread_mutex_unlock(&p->lock);
    assert_int_equal(tlog_partition_trim(p, second, NULL), 0);
    go_on(thread);
    assert_int_equal(unit_count(u, "topics/t/0", "00000000000000000000"), 0);
    assert_int_equal(files(u, ".zst"), FULL - 1);
    assert_int_equal(unit_count(u, "topics/t/0", "0"), 3 * (FULL - 1) + 2);
}

static void test_deleted_meanwhile(void **state)
{
    struct unit *u = *state;
    unit_gate_use(u);
    struct tlog_partition *p = fill(u, "delete.enable=true\n");
    pthread_t thread = held_back(u);
    assert_int_equal(tlog_partition_remove(p, true), 0);
    go_on(thread);
    assert_false(unit_exists(u, "topics/t/0"));
    assert_lines(p); /* from the trash */
}

/* ---- the thread ---- */

static bool all_sealed(void *arg)
{
    return files(arg, ".zst") == FULL && files(arg, ".log") == 1;
}

static void test_by_itself(void **state)
{
    struct unit *u = *state;
    u->options.no_upkeep = false;
    struct tlog_partition *p = fill(u, "seal.linger.ms=0\n");
    unit_wait(all_sealed, u);
    assert_lines(p);
}

static bool is_rolled(void *arg)
{
    return unit_bounds(arg).segments == 2;
}

static void test_rolls_by_itself(void **state)
{
    struct unit *u = *state;
    u->options.no_upkeep = false;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.ms=1s\n");
    unit_append(p, "one\n");
    unit_wait(is_rolled, p);
}

static bool is_sealing(void *arg)
{
    return status(arg).sealing[0] != 0;
}

static void test_closed_meanwhile(void **state)
{
    struct unit *u = *state;
    u->options.no_upkeep = false;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_config(u, "t", "segment.bytes=8MiB\ncompression.level=19\n"); /* takes seconds */
    char *text = unit_lines_text(0, 10000, LINE);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(tlog_partition_append(p, text, 10000 * LINE, 10000), 0);
    free(text);
    assert_int_equal(tlog_store_sync(u->store), 0);
    unit_wait(is_sealing, u);
    unit_close(u);
    assert_false(unit_exists(u, FIRST ".zst") || unit_exists(u, FIRST ".zst.new"));
    u->options.no_upkeep = true;
    unit_open(u);
    assert_int_equal(unit_bounds(unit_get(u, "t", 0)).end, 20 * 10000 * LINE);
}

struct reading {
    struct tlog_partition *p;
    const char *text;
    atomic_bool stop;
    atomic_uint wrong, reads;
};

static void *read_anywhere(void *arg)
{
    struct reading *reading = arg;
    static atomic_uint seeds;
    unsigned seed = atomic_fetch_add(&seeds, 1) + 1;
    char *piece = malloc(40000);
    while (!atomic_load(&reading->stop)) {
        uint64_t end = tlog_partition_committed(reading->p), pos = end > 0 ? (uint64_t)rand_r(&seed) % end : 0, found;
        ssize_t n = tlog_partition_read(reading->p, pos, piece, 1 + (size_t)rand_r(&seed) % 40000);
        if (n < 0 || memcmp(piece, reading->text + pos, (size_t)n) != 0 || (n == 0 && pos < end))
            atomic_fetch_add(&reading->wrong, 1);
        if (tlog_partition_find_seq(reading->p, pos / LINE, &found, NULL) < 0 || found != pos / LINE * LINE)
            atomic_fetch_add(&reading->wrong, 1);
        atomic_fetch_add(&reading->reads, 1);
    }
    free(piece);
    return NULL;
}

static bool is_done(void *arg)
{
    struct reading *reading = arg;
    struct tlog_bounds bounds = unit_bounds(reading->p);
    return bounds.sealed_bytes + 400 * LINE > bounds.end || atomic_load(&reading->wrong) > 0;
}

/* Segments are sealed, and their raw files go, under the eyes of readers; none of them ever sees anything of it. */
static void test_readers_see_nothing_of_it(void **state)
{
    enum { MOST = 20000 };
    struct unit *u = *state;
    u->options.no_upkeep = false;
    u->options.max_files = 40; /* handles are taken away, too */
    unit_open(u);
    char *text = unit_lines_text(0, MOST, LINE);
    struct reading reading = {.p = unit_partition(u, "t", 0), .text = text};
    unit_config(u, "t", "segment.bytes=32KiB\nseal.linger.ms=0\nflush.ms=100ms\nflush.bytes=64KiB\n");
    pthread_t threads[3];
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_anywhere, &reading), 0);
    for (unsigned at = 0; at < MOST; at += 20)
        assert_int_equal(tlog_partition_append(reading.p, text + (size_t)at * LINE, 20 * LINE, 20), 0);
    unit_wait(is_done, &reading);
    atomic_store(&reading.stop, true);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&reading.wrong), 0);
    assert_true(atomic_load(&reading.reads) > 100);
    assert_string_equal(damage(u), "");
    unit_assert_text(reading.p, text);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_full_and_synced),
        UNIT_SIM(test_raw_files_linger),
        UNIT_BOTH(test_nothing_lingers),
        UNIT_BOTH(test_type_and_level),
        UNIT_SIM(test_an_old_segment_rolls),
        UNIT_SIM(test_damaged_data_stays_raw),
        UNIT_SIM(test_a_sealed_file_that_went_bad),
        UNIT_SIM(test_a_full_disk),
        UNIT_SIM(test_any_refusal),
        UNIT_REAL(test_appends_do_not_wait),
        UNIT_REAL(test_renamed_meanwhile),
        UNIT_REAL(test_trimmed_meanwhile),
        UNIT_REAL(test_deleted_meanwhile),
        UNIT_REAL(test_by_itself),
        UNIT_REAL(test_rolls_by_itself),
        UNIT_REAL(test_closed_meanwhile),
        UNIT_MEMORY(test_readers_see_nothing_of_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
