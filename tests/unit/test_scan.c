/* Walking an index: from the start, from a position, over the last entries, with and without its data. */
#include "unit.h"

#define FILES "topics/t/0/00000000000000000000"

struct opened {
    int log, idx;
    uint8_t topic_id[16];
};

/* Ten entries of 1000 bytes and ten records each. */
static struct opened make(struct unit *u)
{
    struct opened opened;
    char path[160];
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    for (unsigned i = 0; i < 10; i++) {
        unit_lines(p, 10 * i, 10, 100);
        assert_int_equal(tlog_partition_sync_wait(p), 0);
    }
    memcpy(opened.topic_id, tlog_topic_id(tlog_partition_topic(p)), 16);
    unit_close(u);
    snprintf(path, sizeof path, "%s/" FILES ".log", u->path);
    opened.log = u->io->open(u->io, path, TLOG_IO_WRITE);
    snprintf(path, sizeof path, "%s/" FILES ".idx", u->path);
    opened.idx = u->io->open(u->io, path, TLOG_IO_WRITE);
    assert_true(opened.log >= 0 && opened.idx >= 0);
    return opened;
}

static void shut(struct unit *u, const struct opened *opened)
{
    u->io->close(u->io, opened->log);
    u->io->close(u->io, opened->idx);
}

static struct tlog_scan begin(struct unit *u, const struct opened *opened)
{
    struct tlog_scan scan;
    assert_int_equal(tlog_scan_open(&scan, u->io, opened->log, opened->idx, 0, opened->topic_id, &u->error), 0);
    return scan;
}

static int count(void *arg, const struct tlog_entry *entry)
{
    unsigned *counted = arg;
    assert_int_equal(entry->pos % 1000, 0);
    ++*counted;
    return *counted == 7 ? 77 : 0;
}

static void test_the_whole(void **state)
{
    struct unit *u = *state;
    struct opened opened = make(u);
    unsigned counted = 100;
    struct tlog_scan scan = begin(u, &opened);
    assert_int_equal(tlog_scan_entries(&scan), 10);
    assert_int_equal(scan.at.pos, 0);
    assert_true(scan.at.chain == tlog_root_chain(opened.topic_id, 0));
    scan.check_data = true;
    scan.each = count;
    scan.arg = &counted;
    assert_int_equal(tlog_scan_run(&scan, &u->error), 0);
    assert_int_equal(counted, 110);
    assert_int_equal(scan.at.pos, 10000);
    assert_int_equal(scan.at.seq, 100);
    assert_int_equal(scan.idx_foff, 64 + 640);
    assert_int_equal(tlog_scan_run(&scan, &u->error), 0); /* nothing more */
    counted = 0;
    scan = begin(u, &opened);
    scan.each = count;
    scan.arg = &counted;
    assert_int_equal(tlog_scan_run(&scan, &u->error), 77); /* `each` ends it, before that entry */
    assert_int_equal(scan.at.pos, 6000);
    shut(u, &opened);
}

static void test_seeking(void **state)
{
    struct unit *u = *state;
    struct opened opened = make(u);
    struct tlog_entry entry;
    for (uint64_t pos = 0; pos <= 10500; pos += 250) {
        struct tlog_scan scan = begin(u, &opened), before = scan;
        bool boundary = pos % 1000 == 0 && pos <= 10000;
        assert_int_equal(tlog_scan_seek(&scan, pos), boundary ? 0 : -EBADMSG);
        if (!boundary) {
            assert_memory_equal(&scan, &before, sizeof scan);
            continue;
        }
        assert_int_equal(scan.at.pos, pos);
        assert_int_equal(scan.at.seq, pos / 100);
        scan.check_data = true;
        assert_int_equal(tlog_scan_run(&scan, &u->error), 0);
        assert_int_equal(scan.at.pos, 10000);
    }
    struct tlog_scan scan = begin(u, &opened);
    assert_int_equal(tlog_scan_entry(&scan, 9, &entry), 0);
    assert_int_equal(entry.pos, 9000);
    assert_int_equal(tlog_scan_entry(&scan, 10, &entry), -EBADMSG);
    shut(u, &opened);
}

static void test_the_tail(void **state)
{
    struct unit *u = *state;
    struct opened opened = make(u);
    static const struct {
        uint64_t count, pos;
    } cases[] = {{0, 10000}, {1, 9000}, {9, 1000}, {10, 0}, {11, 0}, {UINT64_MAX, 0}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tlog_scan scan = begin(u, &opened);
        assert_int_equal(tlog_scan_tail(&scan, cases[i].count), 0);
        assert_int_equal(scan.at.pos, cases[i].pos);
        scan.check_data = true;
        assert_int_equal(tlog_scan_run(&scan, &u->error), 0);
        assert_int_equal(scan.at.pos, 10000);
    }
    shut(u, &opened);
}

static void test_what_is_wrong_is_said(void **state)
{
    struct unit *u = *state;
    struct opened opened = make(u);
    unit_flip(u, FILES ".log", 4321);
    struct tlog_scan scan = begin(u, &opened);
    scan.check_data = true;
    assert_int_equal(tlog_scan_run(&scan, &u->error), -EBADMSG);
    assert_int_equal(scan.at.pos, 4000);
    assert_string_equal(u->error.text, "entry 4 (position 4000): bad chain: the data or the entry was changed");
    scan = begin(u, &opened); /* the index alone is good */
    assert_int_equal(tlog_scan_run(&scan, &u->error), 0);
    unit_flip(u, FILES ".log", 4321);
    unit_flip(u, FILES ".idx", 64 + 6 * 64);
    scan = begin(u, &opened);
    assert_int_equal(tlog_scan_run(&scan, &u->error), -EBADMSG);
    assert_string_equal(u->error.text, "entry 6 (position 6000): does not follow the entry before it");
    assert_int_equal(scan.at.pos, 6000);
    unit_flip(u, FILES ".idx", 64 + 6 * 64);
    unit_truncate(u, FILES ".log", 9999);
    scan = begin(u, &opened);
    assert_int_equal(tlog_scan_run(&scan, &u->error), -EBADMSG);
    assert_string_equal(u->error.text, "entry 9 (position 9000): its data is missing from the .log");
    unit_truncate(u, FILES ".idx", 64 + 9 * 64 + 63); /* an entry cut short is none yet */
    scan = begin(u, &opened);
    assert_int_equal(tlog_scan_entries(&scan), 9);
    scan.check_data = true;
    assert_int_equal(tlog_scan_run(&scan, &u->error), 0);
    assert_int_equal(scan.at.pos, 9000);
    shut(u, &opened);
}

static void test_headers(void **state)
{
    struct unit *u = *state;
    struct opened opened = make(u);
    struct tlog_scan scan;
    opened.topic_id[0] ^= 1;
    assert_int_equal(tlog_scan_open(&scan, u->io, opened.log, opened.idx, 0, opened.topic_id, &u->error), -EBADMSG);
    assert_string_equal(u->error.text, "index belongs to another topic");
    assert_int_equal(tlog_scan_open(&scan, u->io, opened.log, opened.idx, 0, NULL, &u->error), 0);
    assert_int_equal(tlog_scan_open(&scan, u->io, opened.log, opened.idx, 9, NULL, &u->error), -EBADMSG);
    assert_string_equal(u->error.text, "index belongs to position 0");
    unit_truncate(u, FILES ".idx", 63);
    assert_int_equal(tlog_scan_open(&scan, u->io, opened.log, opened.idx, 0, NULL, &u->error), -EBADMSG);
    assert_string_equal(u->error.text, "bad index header");
    shut(u, &opened);
}

static void test_a_disk_that_does_not_answer(void **state)
{
    struct unit *u = *state;
    struct opened opened = make(u);
    struct tlog_scan scan = begin(u, &opened);
    scan.check_data = true;
    simdisk_bad_range(u->disk, "/store/" FILES ".log", 5500, 5501);
    assert_int_equal(tlog_scan_run(&scan, &u->error), -EIO); /* not damage: nobody knows */
    assert_int_equal(scan.at.pos, 5000);
    simdisk_fail(u->disk, 1U << SIM_READ, 0, EIO, true);
    assert_int_equal(tlog_scan_seek(&scan, 3000), -EIO);
    assert_int_equal(tlog_scan_tail(&scan, 3), -EIO);
    assert_int_equal(tlog_scan_run(&scan, &u->error), -EIO);
    simdisk_fail(u->disk, 0, 0, 0, false);
    shut(u, &opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_the_whole), UNIT_BOTH(test_seeking),
        UNIT_BOTH(test_the_tail),  UNIT_BOTH(test_what_is_wrong_is_said),
        UNIT_BOTH(test_headers),   UNIT_SIM(test_a_disk_that_does_not_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
