/* Sealing: which segments, when, what it leaves on disk, and what goes wrong. */
#include "unit.h"

#include "log/sealed.h"

#define DIR "topics/t/0/"

enum { LINE = 100, SEGMENT = 16 << 10 };

/* A partition of small segments; nothing lingers unless a test wants it. */
static struct tlog_partition *open_small(struct unit *u, const char *more)
{
    char text[256];
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    snprintf(text, sizeof text, "segment.bytes=16KiB\n%s", more);
    unit_config(u, "t", text);
    return p;
}

static void maintain(struct unit *u)
{
    assert_int_equal(tlog_store_sync(u->store), 0);
    (void)tlog_store_maintain(u->store);
}

static void test_full_segments_are_sealed(void **state)
{
    struct unit *u = *state;
    struct tlog_partition *p = open_small(u, "seal.linger.ms=1h\n");
    unit_lines(p, 0, 1000, LINE);
    (void)tlog_store_maintain(u->store);
    assert_int_equal(unit_count(u, "topics/t/0", "0"), 2 * 7); /* nothing is synced yet */
    assert_int_equal(unit_bounds(p).sealed_bytes, 0);
    maintain(u);
    struct tlog_bounds bounds = unit_bounds(p);
    assert_int_equal(unit_count(u, "topics/t/0", "0"), 2 * 7 + 6);
    assert_true(bounds.sealed_bytes > 90000 && bounds.sealed_bytes < 100000); /* all but the active one */
    assert_true(unit_exists(u, DIR "00000000000000000000.zst") && unit_exists(u, DIR "00000000000000000000.log"));
    char *text = unit_lines_text(0, 1000, LINE);
    unit_assert_text(p, text);
    unit_advance(u, 3599000);
    (void)tlog_store_maintain(u->store);
    assert_true(unit_exists(u, DIR "00000000000000000000.log"));
    unit_advance(u, 2000);
    (void)tlog_store_maintain(u->store);
    assert_false(unit_exists(u, DIR "00000000000000000000.log"));
    assert_false(unit_exists(u, DIR "00000000000000000000.idx"));
    assert_int_equal(unit_count(u, "topics/t/0", "0"), 6 + 2);
    unit_assert_text(p, text);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_SIM(test_full_segments_are_sealed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
