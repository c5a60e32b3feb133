/* The names of instants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "when.h"

#define NOW_NS INT64_C(1795341600123456789) /* 2026-11-22T10:00:00.123456789Z */

static void reads_the_calendar(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds, ns;
    } times[] = {
        {"2026-11-22T10:00:00.5Z", 1795341600, 500000000},
        {"2026-11-22T10:00:00.000000001Z", 1795341600, 1},
        {"2026-11-22T10:00:00.123456789Z", 1795341600, 123456789},
        {"1970-01-01", 0, 0},
        {"1970-01-01T00:00:01Z", 1, 0},
        {"2026-11-22", 1795305600, 0},
        {"2026-11-22T10:00:00Z", 1795341600, 0},
        {"2024-02-29", 1709164800, 0},
        {"2024-02-29T23:59:59Z", 1709251199, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t time_ns = -1;
        bool relative = true;
        if (!tfs_when_parse(times[i].text, NOW_NS, &time_ns, &relative))
            fail_msg("\"%s\" was not taken", times[i].text);
        assert_int_equal(time_ns, times[i].seconds * 1000000000 + times[i].ns);
        assert_false(relative);
    }
}

static void counts_back(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } times[] = {{"-0s", 0}, {"-1s", 1}, {"-15m", 900}, {"-2h", 7200}, {"-3d", 259200}, {"-1w", 604800}};

    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t time_ns = -1;
        bool relative = false;
        if (!tfs_when_parse(times[i].text, NOW_NS, &time_ns, &relative))
            fail_msg("\"%s\" was not taken", times[i].text);
        assert_int_equal(time_ns, NOW_NS - times[i].seconds * 1000000000);
        assert_true(relative);
    }
}

static void stops_at_the_beginning_of_time(void **state)
{
    int64_t time_ns = -1;
    bool relative = false;

    (void)state;
    assert_true(tfs_when_parse("-999999999w", NOW_NS, &time_ns, &relative));
    assert_int_equal(time_ns, 0);
}

static void refuses_all_else(void **state)
{
    static const char *const texts[] = {
        "",
        "now",
        "-",
        "-m",
        "-15",
        "-15y",
        "-15mm",
        "-1 m",
        "--1m",
        "15m",
        "-1234567890s",
        "+15m",
        "2026",
        "2026-11",
        "2026-11-2",
        "2026-02-30",
        "2026-13-01",
        "2026-00-01",
        " 2026-11-22",
        "2026-11-22 ",
        "2026-11-22T",
        "20261122",
        "2026/11/22",
        "1969-12-31",
        "2026-11-22T10:00:00",
        "2026-11-22T25:00:00Z",
        "2026-11-22T10:60:00Z",
        "2026-11-22T10:00:61Z",
        "2026-11-22T10:00:00z",
        "2026-11-22T1:00:00Z",
        "2026-11-22T10:00Z",
        "99999-01-01",
        "2023-02-29",
        "2026-11-22T10:00:00ZT",
        "2026-11-22T10:00:00.Z",
        "2026-11-22T10:00:00.5",
        "2026-11-22T10:00:00.1234567890Z",
        "2026-11-22T10:00:00.-5Z",
        "2026-11-22.5",
        "2026-11-22 10:00:00Z",
        "-15m/",
        "..",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int64_t time_ns;
        bool relative;
        if (tfs_when_parse(texts[i], NOW_NS, &time_ns, &relative))
            fail_msg("\"%s\" was taken", texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_calendar),
        cmocka_unit_test(counts_back),
        cmocka_unit_test(stops_at_the_beginning_of_time),
        cmocka_unit_test(refuses_all_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
