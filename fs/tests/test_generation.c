/* Generations: who may open what after a trim, and what is pinned as long as it is read. The log is played: one partition
 * with a start, and pins that are counted. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "generation.h"

static struct {
    uint64_t start;
    bool deleted;
    bool trim_before_pin; /* a trim comes just before the next pin */
    int pins;
} log_of;

void tlog_partition_bounds(struct tlog_partition *partition, struct tlog_bounds *out)
{
    (void)partition;
    *out = (struct tlog_bounds){.start = log_of.start, .deleted = log_of.deleted};
}

int tlog_partition_pin(struct tlog_partition *partition, uint64_t pos, struct tlog_pin *pin)
{
    if (log_of.trim_before_pin)
        log_of.start += 1000;
    log_of.trim_before_pin = false;
    if (pos < log_of.start)
        return -ESTALE;
    *pin = (struct tlog_pin){.partition = partition, .pos = pos};
    log_of.pins++;
    return 0;
}

void tlog_pin_release(struct tlog_pin *pin)
{
    (void)pin;
    log_of.pins--;
}

static struct tfs_part part = {.lock = PTHREAD_MUTEX_INITIALIZER};
static struct tfs_node node;

static int start(void **state)
{
    (void)state;
    log_of.start = 500;
    log_of.deleted = log_of.trim_before_pin = false;
    log_of.pins = 0;
    node = (struct tfs_node){.kind = TFS_PARTITION, .part = &part, .base = 500};
    return 0;
}

static void pins_once_for_all_its_readers(void **state)
{
    (void)state;
    assert_int_equal(tfs_generation_open(&node, true), 0);
    assert_int_equal(tfs_generation_open(&node, true), 0);
    assert_int_equal(log_of.pins, 1);
    assert_int_equal(node.current.pin.pos, 500);
    tfs_generation_close(&node, true);
    assert_int_equal(log_of.pins, 1);
    tfs_generation_close(&node, true);
    assert_int_equal(log_of.pins, 0);
    assert_int_equal(tfs_generation_open(&node, true), 0);
    assert_int_equal(log_of.pins, 1);
    tfs_generation_close(&node, true);
    assert_int_equal(log_of.pins, 0);
}

static void pins_nothing_for_writers(void **state)
{
    (void)state;
    assert_int_equal(tfs_generation_open(&node, false), 0);
    assert_int_equal(log_of.pins, 0);
    assert_int_equal(tfs_generation_open(&node, true), 0);
    tfs_generation_close(&node, true);
    assert_int_equal(log_of.pins, 0);
    tfs_generation_close(&node, false);
    assert_int_equal(node.current.opens, 0);
}

static void sends_names_on_after_a_trim(void **state)
{
    (void)state;
    assert_false(tfs_generation_left(&node));
    log_of.start = 900;
    assert_true(tfs_generation_left(&node));
    assert_int_equal(tfs_generation_open(&node, true), -ESTALE);
    assert_int_equal(tfs_generation_open(&node, false), -ESTALE);
    assert_int_equal(node.current.opens, 0);
    assert_int_equal(log_of.pins, 0);
}

static void goes_on_for_what_is_open(void **state)
{
    (void)state;
    assert_int_equal(tfs_generation_open(&node, true), 0);
    log_of.start = 900;
    assert_false(tfs_generation_left(&node)); /* fstat(2) comes without its open file */
    assert_int_equal(tfs_generation_open(&node, true), -ESTALE);
    assert_int_equal(log_of.pins, 1);
    tfs_generation_close(&node, true);
    assert_true(tfs_generation_left(&node));
    assert_int_equal(log_of.pins, 0);
}

static void serves_who_has_not_come_by_the_name(void **state)
{
    (void)state;
    assert_int_equal(tfs_generation_open(&node, true), 0);
    log_of.start = 900;
    tfs_generation_unname(&node);
    assert_int_equal(tfs_generation_open(&node, true), 0);
    assert_int_equal(log_of.pins, 1);
    tfs_generation_close(&node, true);
    tfs_generation_close(&node, true);
    assert_int_equal(log_of.pins, 0);
    assert_false(tfs_generation_left(&node)); /* an O_PATH descriptor */
    /* Nothing holds the pin any more, so a reader could not read; a writer can write. */
    assert_int_equal(tfs_generation_open(&node, true), -ESTALE);
    assert_int_equal(tfs_generation_open(&node, false), 0);
    tfs_generation_close(&node, false);
}

static void unnames_no_newest_one(void **state)
{
    (void)state;
    tfs_generation_unname(&node);
    log_of.start = 900;
    assert_true(tfs_generation_left(&node));
    assert_int_equal(tfs_generation_open(&node, false), -ESTALE);
}

static void notices_a_trim_while_it_opens(void **state)
{
    (void)state;
    log_of.trim_before_pin = true;
    assert_int_equal(tfs_generation_open(&node, true), -ESTALE);
    assert_int_equal(node.current.opens, 0);
    assert_int_equal(node.current.readers, 0);
    assert_int_equal(log_of.pins, 0);
}

static void leaves_what_was_deleted(void **state)
{
    (void)state;
    assert_int_equal(tfs_generation_open(&node, true), 0);
    log_of.deleted = true;
    assert_false(tfs_generation_left(&node));
    assert_int_equal(tfs_generation_open(&node, true), -ESTALE);
    tfs_generation_close(&node, true);
    assert_true(tfs_generation_left(&node));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(pins_once_for_all_its_readers, start),
        cmocka_unit_test_setup(pins_nothing_for_writers, start),
        cmocka_unit_test_setup(sends_names_on_after_a_trim, start),
        cmocka_unit_test_setup(goes_on_for_what_is_open, start),
        cmocka_unit_test_setup(serves_who_has_not_come_by_the_name, start),
        cmocka_unit_test_setup(unnames_no_newest_one, start),
        cmocka_unit_test_setup(notices_a_trim_while_it_opens, start),
        cmocka_unit_test_setup(leaves_what_was_deleted, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
