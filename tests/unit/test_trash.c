/* Removing with records, the trash, restoring from it and emptying it. */
#include <sys/stat.h>

#include "log/trash.h"
#include "unit.h"

enum { LINE = 100, LINES = 10, SEGMENT = LINE * LINES };
static const int64_t second_ns = 1000000000, hour_ns = 3600 * second_ns;

static struct tlog_partition *filled(struct unit *u, const char *name, unsigned number, unsigned segments)
{
    struct tlog_partition *p = unit_partition(u, name, number);
    unit_config(u, name, "segment.bytes=1KiB");
    unit_lines(p, 0, segments * LINES, LINE);
    return p;
}

/* The items, to be freed; exactly `count` of them. */
static struct tlog_trash_item *items(struct unit *u, size_t count)
{
    struct tlog_trash_item *all;
    size_t found;
    assert_int_equal(tlog_store_trash(u->store, &all, &found), 0);
    assert_int_equal(found, count);
    return all;
}

static void assert_item(const struct tlog_trash_item *item, const char *topic, int partition)
{
    assert_string_equal(item->topic, topic);
    assert_int_equal(item->partition, partition);
    assert_true(item->disk_bytes >= 4096);
}

/* Restores the newest item. */
static int restore(struct unit *u)
{
    struct tlog_trash_item *all;
    size_t count;
    assert_int_equal(tlog_store_trash(u->store, &all, &count), 0);
    assert_true(count > 0);
    int r = tlog_store_restore(u->store, all[count - 1].name, &u->error);
    free(all);
    return r;
}

/* ---- restoring ---- */

static void test_a_partition_comes_back(void **state)
{
    struct unit *u = *state;
    char *lines = unit_lines_text(0, 3 * LINES, LINE), expected[4000];
    unit_open(u);
    struct tlog_partition *p = filled(u, "a.3", 0, 3);
    (void)unit_partition(u, "a.3", 1);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_write(writer, "unfinished");
    struct tlog_attr attr = {0600, 12, 34};
    assert_int_equal(tlog_partition_set_attr(p, &attr), 0);
    struct tlog_bounds before = unit_bounds(p);
    assert_int_equal(tlog_partition_remove(p, true), 0);
    struct tlog_trash_item *all = items(u, 1);
    assert_item(all, "a.3", 0);
    assert_true(all->removed_ns > before.mtime_ns);
    free(all);
    /* What is open on it reads on, and writes nothing. */
    snprintf(expected, sizeof expected, "%sunfinished\n", lines);
    assert_true(unit_bounds(p).deleted);
    unit_assert_text(p, expected);
    assert_int_equal(unit_write(writer, "more\n"), -ESTALE);
    assert_int_equal(unit_append(p, "more\n"), -ESTALE);
    for (unsigned again = 0; again < 3; again++) {
        assert_int_equal(restore(u), 0);
        free(items(u, 0));
        assert_false(unit_exists(u, "topics/a.3/0/origin"));
        p = unit_get(u, "a.3", 0);
        assert_int_equal(unit_bounds(p).end, 3 * SEGMENT + 11);
        assert_int_equal(unit_bounds(p).end_seq, 3 * LINES + 1);
        assert_int_equal(unit_bounds(p).durable, 3 * SEGMENT + 11);
        assert_int_equal(unit_bounds(p).mtime_ns >= before.mtime_ns, 1);
        tlog_partition_attr(p, &attr);
        assert_true(attr.mode == 0600 && attr.uid == 12 && attr.gid == 34);
        unit_assert_text(p, expected);
        if (again == 1)
            unit_power_cut(u, 4);
        else
            unit_reopen(u);
        if (again == 1)
            unit_open(u);
        p = unit_get(u, "a.3", 0);
        unit_assert_text(p, expected);
        assert_int_equal(tlog_partition_remove(p, true), 0);
    }
    assert_int_equal(restore(u), 0);
    p = unit_get(u, "a.3", 0);
    struct tlog_partition *q = unit_get(u, "a.3", 1);
    assert_int_equal(unit_append(p, "and on\n"), 0);
    assert_int_equal(unit_append(q, "the other\n"), 0);
    snprintf(expected, sizeof expected, "%sunfinished\nand on\n", lines);
    unit_assert_text(p, expected);
    free(lines);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

static void test_positions_are_never_used_twice(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = filled(u, "t", 0, 2);
    struct tlog_topic *topic = unit_topic(u, "t");
    assert_int_equal(tlog_partition_remove(p, true), 0);
    struct tlog_trash_item *all = items(u, 1);
    char first[512];
    snprintf(first, sizeof first, "%s", all->name);
    free(all);
    /* One of its number is there. */
    assert_int_equal(tlog_topic_add_partition(topic, 0, NULL), 0);
    assert_int_equal(tlog_store_restore(u->store, first, &u->error), -EEXIST);
    assert_non_null(strstr(u->error.text, "a partition of that number is there"));
    p = unit_get(u, "t", 0);
    assert_int_equal(unit_bounds(p).start, 2 * SEGMENT);
    unit_append(p, "since\n");
    /* It is gone, but there were records. */
    assert_int_equal(tlog_partition_remove(p, true), 0);
    assert_int_equal(tlog_store_restore(u->store, first, &u->error), -EEXIST);
    assert_non_null(strstr(u->error.text, "records were appended to a partition of that number since"));
    free(items(u, 2));
    assert_int_equal(tlog_topic_partitions(topic), 0);
    /* What was appended since can come back, with its positions. */
    assert_int_equal(restore(u), 0);
    p = unit_get(u, "t", 0);
    unit_assert_text(p, "since\n");
    assert_int_equal(unit_bounds(p).start, 2 * SEGMENT);
    assert_int_equal(unit_bounds(p).start_seq, 2 * LINES);
    /* One that got nothing does not count. */
    assert_int_equal(tlog_partition_remove(p, true), 0);
    assert_int_equal(tlog_topic_add_partition(topic, 0, NULL), 0);
    assert_int_equal(tlog_partition_remove(unit_get(u, "t", 0), false), 0);
    assert_int_equal(restore(u), 0);
    p = unit_get(u, "t", 0);
    unit_append(p, "more\n");
    assert_int_equal(unit_bounds(p).end, 2 * SEGMENT + 11);
}

static void test_a_topic_comes_back(void **state)
{
    struct unit *u = *state;
    uint8_t id[16];
    unit_open(u);
    struct tlog_partition *p = filled(u, "t", 0, 3);
    (void)filled(u, "t", 4, 1);
    struct tlog_topic *topic = unit_topic(u, "t");
    memcpy(id, tlog_topic_id(topic), 16);
    assert_int_equal(tlog_partition_trim(p, SEGMENT, NULL), 0);
    assert_int_equal(tlog_topic_remove(topic, true), 0);
    assert_null(tlog_topic_get(u->store, "t"));
    unit_assert_lines(p, LINES, 2 * LINES, LINE);
    struct tlog_trash_item *all = items(u, 1);
    assert_item(all, "t", -1);
    free(all);
    (void)unit_topic(u, "t");
    assert_int_equal(restore(u), -EEXIST);
    assert_non_null(strstr(u->error.text, "a topic of that name is there"));
    assert_int_equal(tlog_topic_rename(unit_topic(u, "t"), "later"), 0);
    assert_int_equal(restore(u), 0);
    topic = unit_topic(u, "t");
    assert_memory_equal(tlog_topic_id(topic), id, 16);
    assert_int_equal(tlog_topic_value(topic, TLOG_SEGMENT_BYTES), 1024);
    assert_int_equal(tlog_topic_partitions(topic), 5);
    p = unit_get(u, "t", 0);
    unit_assert_lines(p, LINES, 2 * LINES, LINE);
    unit_assert_lines(unit_get(u, "t", 4), 0, LINES, LINE);
    unit_append(p, "on\n");
    unit_kill(u);
    unit_open(u);
    p = unit_get(u, "t", 0);
    assert_int_equal(unit_bounds(p).start, SEGMENT);
    assert_int_equal(unit_bounds(p).end, 3 * SEGMENT + 3);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

static void test_sealed_segments_come_back(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = filled(u, "t", 0, 5);
    unit_config(u, "t", "seal.linger.ms=0");
    assert_int_equal(tlog_store_sync(u->store), 0);
    (void)tlog_store_maintain(u->store);
    (void)tlog_store_maintain(u->store);
    assert_int_equal(tlog_partition_trim(p, SEGMENT, NULL), 0);
    assert_int_equal(unit_bounds(p).sealed_bytes, 3 * SEGMENT);
    for (unsigned whole = 0; whole < 2; whole++) {
        p = unit_get(u, "t", 0);
        if (whole)
            assert_int_equal(tlog_topic_remove(unit_topic(u, "t"), true), 0);
        else
            assert_int_equal(tlog_partition_remove(p, true), 0);
        unit_assert_lines(p, LINES, 4 * LINES, LINE); /* what is open reads on */
        assert_int_equal(restore(u), 0);
        p = unit_get(u, "t", 0);
        assert_int_equal(unit_bounds(p).sealed_bytes, 3 * SEGMENT);
        assert_int_equal(unit_bounds(p).start_seq, LINES);
        unit_assert_lines(p, LINES, 4 * LINES, LINE);
        unit_power_cut(u, whole);
        unit_open(u);
        unit_assert_lines(unit_get(u, "t", 0), LINES, 4 * LINES, LINE);
    }
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

/* What had been trimmed and was pinned goes to the trash with the rest, and does not come back with it. */
static void test_pinned_segments_do_not_come_back(void **state)
{
    struct unit *u = *state;
    struct tlog_pin pin;
    char byte;
    for (unsigned whole = 0; whole < 2; whole++) {
        static const char *const names[] = {"t", "u"};
        unit_open(u);
        struct tlog_partition *p = filled(u, names[whole], 0, 4);
        assert_int_equal(tlog_partition_pin(p, 0, &pin), 0);
        assert_int_equal(tlog_partition_trim(p, 2 * SEGMENT, NULL), 0);
        if (whole)
            assert_int_equal(tlog_topic_remove(unit_topic(u, names[whole]), true), 0);
        else
            assert_int_equal(tlog_partition_remove(p, true), 0);
        assert_int_equal(tlog_partition_read(p, 0, &byte, 1), 1); /* the pin holds */
        tlog_pin_release(&pin);
        assert_int_equal(restore(u), 0);
        p = unit_get(u, names[whole], 0);
        assert_int_equal(unit_bounds(p).start, 2 * SEGMENT);
        assert_int_equal(unit_bounds(p).start_seq, 2 * LINES);
        unit_assert_lines(p, 2 * LINES, 2 * LINES, LINE);
        assert_int_equal(tlog_partition_read(p, 0, &byte, 1), -ESTALE);
        unit_close(u);
        assert_string_equal(unit_verify(u), "");
    }
}

/* What was durable when it was removed is so in the trash: unfinished lines too, which the removal ends. */
static void test_the_trash_is_durable(void **state)
{
    struct unit *u = *state;
    for (unsigned whole = 0; whole < 2; whole++) {
        static const char *const names[] = {"t", "u"};
        char expected[2000], *lines = unit_lines_text(0, LINES, LINE);
        unit_open(u);
        struct tlog_partition *p = filled(u, names[whole], 0, 1);
        unit_write(unit_writer(u, p), "unfinished");
        assert_int_equal(tlog_partition_sync_wait(p), 0);
        if (whole)
            assert_int_equal(tlog_topic_remove(unit_topic(u, names[whole]), true), 0);
        else
            assert_int_equal(tlog_partition_remove(p, true), 0);
        unit_release(u);
        assert_int_equal(tlog_store_sync(u->store), 0); /* the journal forgets it */
        unit_power_cut(u, 11 + whole);
        unit_open(u);
        assert_int_equal(restore(u), 0);
        snprintf(expected, sizeof expected, "%sunfinished\n", lines);
        free(lines);
        unit_assert_text(unit_get(u, names[whole], 0), expected);
        unit_close(u);
    }
}

static void test_a_topic_made_anew(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    assert_int_equal(tlog_partition_remove(filled(u, "t", 0, 1), true), 0);
    struct tlog_trash_item *all = items(u, 1);
    assert_int_equal(tlog_topic_rename(unit_topic(u, "t"), "other"), 0);
    (void)unit_topic(u, "t");
    assert_int_equal(restore(u), 0); /* to its topic, whatever that is called now */
    unit_assert_lines(unit_get(u, "other", 0), 0, LINES, LINE);
    assert_int_equal(tlog_partition_remove(unit_get(u, "other", 0), true), 0);
    assert_int_equal(tlog_topic_remove(unit_topic(u, "other"), false), 0);
    free(all);
    all = items(u, 2);
    assert_item(all, "other", 0);
    assert_int_equal(tlog_store_restore(u->store, all[0].name, &u->error), -ENOENT);
    assert_non_null(strstr(u->error.text, "its topic is not there"));
    (void)unit_topic(u, "other");
    assert_int_equal(tlog_store_restore(u->store, all[0].name, &u->error), -EBADMSG);
    assert_non_null(strstr(u->error.text, "its topic was made anew since"));
    free(all);
    assert_int_equal(tlog_store_restore(u->store, "t.0.1", &u->error), -ENOENT);
    assert_int_equal(tlog_store_restore(u->store, "../topics", &u->error), -ENOENT);
    assert_int_equal(tlog_store_restore(u->store, "", &u->error), -ENOENT);
    assert_int_equal(tlog_store_discard(u->store, "..", &u->error), -ENOENT);
}

/* `rm -r` removes the partitions one by one, then the topic, in which no records are left. */
static void test_piece_by_piece(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = filled(u, "t", 0, 1), *q = filled(u, "t", 1, 2);
    assert_int_equal(tlog_partition_remove(p, true), 0);
    assert_int_equal(tlog_partition_remove(q, true), 0);
    assert_int_equal(tlog_topic_remove(unit_topic(u, "t"), false), 0);
    struct tlog_trash_item *all = items(u, 3);
    assert_string_equal(all[2].topic, "t");
    assert_int_equal(all[2].partition, -1);
    unit_close(u);
    unit_open(u);
    for (int i = 2; i >= 0; i--)
        assert_int_equal(tlog_store_restore(u->store, all[i].name, &u->error), 0);
    free(all);
    unit_assert_lines(unit_get(u, "t", 0), 0, LINES, LINE);
    unit_assert_lines(unit_get(u, "t", 1), 0, 2 * LINES, LINE);
    /* One that never held a record leaves nothing. */
    assert_int_equal(tlog_topic_remove(unit_topic(u, "empty"), false), 0);
    free(items(u, 0));
}

/* What earlier versions, and a removal on a full disk, left: the name tells. */
static void test_without_an_origin(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = filled(u, "a.3", 7, 1);
    simdisk_fail(u->disk, 1U << SIM_CREATE, 0, ENOSPC, true);
    assert_int_equal(tlog_partition_remove(p, true), -ENOSPC); /* the end could not be remembered */
    simdisk_fail(u->disk, 1U << SIM_CREATE, 1, ENOSPC, true);
    assert_int_equal(tlog_partition_remove(p, true), 0);
    simdisk_fail(u->disk, 0, 0, 0, false);
    struct tlog_trash_item *all = items(u, 1);
    char origin[700];
    snprintf(origin, sizeof origin, "trash/%s/origin", all->name);
    assert_false(unit_exists(u, origin));
    assert_item(all, "a.3", 7);
    free(all);
    assert_int_equal(restore(u), 0);
    unit_assert_lines(unit_get(u, "a.3", 7), 0, LINES, LINE);
    simdisk_fail(u->disk, 1U << SIM_CREATE, 0, ENOSPC, true);
    assert_int_equal(tlog_topic_remove(unit_topic(u, "a.3"), true), 0);
    simdisk_fail(u->disk, 0, 0, 0, false);
    all = items(u, 1);
    assert_item(all, "a.3", -1);
    free(all);
    assert_int_equal(restore(u), 0);
    unit_assert_lines(unit_get(u, "a.3", 7), 0, LINES, LINE);
}

static void test_long_names(void **state)
{
    struct unit *u = *state;
    char name[250];
    memset(name, 'n', 249);
    name[249] = 0;
    unit_open(u);
    assert_int_equal(tlog_partition_remove(filled(u, name, 0, 1), true), 0);
    struct tlog_trash_item *all = items(u, 1);
    assert_item(all, name, 0);
    free(all);
    assert_int_equal(restore(u), 0);
    assert_int_equal(tlog_topic_remove(unit_topic(u, name), true), 0);
    assert_int_equal(restore(u), 0);
    unit_assert_lines(unit_get(u, name, 0), 0, LINES, LINE);
}

/* Removal and restore, of a partition and of a topic, cut short before each operation: the records are in one place or
 * the other, whole, and can be brought back. */
static void test_cut_short(void **state)
{
    struct unit *u = *state;
    for (unsigned whole = 0; whole < 2; whole++) {
        unit_open(u);
        struct tlog_partition *p = filled(u, "t", 0, 4);
        assert_int_equal(tlog_partition_trim(p, 2 * SEGMENT, NULL), 0);
        assert_int_equal(tlog_store_sync(u->store), 0);
        struct unit_clones clones;
        unit_clone_on(u, &clones);
        if (whole)
            assert_int_equal(tlog_topic_remove(unit_topic(u, "t"), true), 0);
        else
            assert_int_equal(tlog_partition_remove(p, true), 0);
        assert_int_equal(tlog_store_sync(u->store), 0); /* the checkpoint forgets it */
        assert_int_equal(restore(u), 0);
        unit_clone_off(u);
        assert_true(clones.count > 15);
        unit_close(u);
        for (unsigned i = 0; i < clones.count; i++)
            for (unsigned power = 0; power < 3; power++) {
                simdisk_free(u->disk);
                u->disk = power < 2 ? simdisk_clone(clones.points[i]) : clones.points[i];
                u->io = u->options.io = simdisk_io(u->disk);
                if (power)
                    simdisk_power_cut(u->disk, i * 3 + power);
                else
                    simdisk_kill(u->disk, i);
                unit_open(u);
                struct tlog_topic *topic = tlog_topic_get(u->store, "t");
                p = topic ? tlog_partition_get(topic, 0) : NULL;
                tlog_topic_unref(topic);
                tlog_partition_unref(p);
                if (!p)
                    assert_int_equal(restore(u), 0);
                p = unit_get(u, "t", 0);
                assert_false(unit_bounds(p).damaged);
                assert_int_equal(unit_bounds(p).start, 2 * SEGMENT);
                unit_assert_lines(p, 2 * LINES, 2 * LINES, LINE);
                unit_append(p, "on\n");
                assert_int_equal(unit_bounds(p).end, 4 * SEGMENT + 3);
                unit_close(u);
                assert_string_equal(unit_verify(u), "");
            }
        simdisk_free(u->disk);
        u->disk = simdisk_new(&(struct simdisk_options){.seed = 2});
        u->io = u->options.io = simdisk_io(u->disk);
    }
}

/* ---- looking into it ---- */

static int collect(void *arg, const char *name, const struct stat *st)
{
    char *text = arg;
    size_t at = strlen(text);
    snprintf(text + at, 1000 - at, "%s%s ", name, S_ISDIR(st->st_mode) ? "/" : "");
    assert_int_equal(st->st_mode & 0222, 0);
    assert_true(S_ISDIR(st->st_mode) || st->st_size == 0 || st->st_blocks > 0);
    return 0;
}

static void test_looking_into_it(void **state)
{
    struct unit *u = *state;
    char text[1000] = "", path[700], data[LINE];
    struct tlog_segment_file *file;
    unit_open(u);
    assert_int_equal(tlog_trash_list(u->store, "", collect, text), 0); /* there is none */
    free(items(u, 0));
    struct tlog_partition *p = filled(u, "t", 0, 1);
    assert_int_equal(tlog_topic_remove(tlog_partition_topic(p), true), 0);
    struct tlog_trash_item *all = items(u, 1);
    assert_int_equal(tlog_trash_list(u->store, "", collect, text), 0);
    snprintf(path, sizeof path, "%s/ ", all->name);
    assert_string_equal(text, path);
    text[0] = 0;
    assert_int_equal(tlog_trash_list(u->store, all->name, collect, text), 0);
    assert_non_null(strstr(text, "topic.conf "));
    assert_non_null(strstr(text, "origin "));
    assert_non_null(strstr(text, "0/ "));
    snprintf(path, sizeof path, "%s/0", all->name);
    text[0] = 0;
    assert_int_equal(tlog_trash_list(u->store, path, collect, text), 0);
    assert_non_null(strstr(text, "00000000000000000000.log "));
    assert_int_equal(tlog_trash_open(u->store, path, &file), -EISDIR);
    snprintf(path, sizeof path, "%s/0/00000000000000000000.log", all->name);
    assert_int_equal(tlog_trash_list(u->store, path, collect, text), -ENOTDIR);
    assert_int_equal(tlog_trash_open(u->store, path, &file), 0);
    assert_int_equal(tlog_segment_file_read(file, 3 * LINE, data, LINE), LINE);
    assert_memory_equal(data, "3 x", 3);
    assert_int_equal(tlog_store_discard(u->store, all->name, &u->error), 0);
    assert_int_equal(tlog_segment_file_read(file, 3 * LINE, data, LINE), LINE); /* it is open */
    tlog_segment_file_close(file);
    assert_int_equal(tlog_trash_open(u->store, path, &file), -ENOENT);
    assert_int_equal(tlog_trash_open(u->store, "../LOCK", &file), -ENOENT);
    assert_int_equal(tlog_trash_open(u->store, "x/../../LOCK", &file), -ENOENT);
    assert_int_equal(tlog_store_discard(u->store, all->name, &u->error), -ENOENT);
    assert_non_null(strstr(u->error.text, "not in the trash"));
    free(all);
    free(items(u, 0));
    assert_int_equal(tlog_partition_read(p, 0, data, 1), -ESTALE);
}

/* ---- emptying it ---- */

static void test_items_expire(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    (void)filled(u, "short", 1, 1);
    unit_config(u, "short", "trash.retention.ms=1h");
    (void)filled(u, "long", 0, 1);
    (void)filled(u, "ever", 0, 1);
    unit_config(u, "ever", "trash.retention.ms=-1");
    assert_int_equal(tlog_store_expire(u->store), -1);
    assert_int_equal(tlog_partition_remove(unit_get(u, "short", 1), true), 0);
    simdisk_advance(u->disk, hour_ns / 2);
    unit_lines(unit_get(u, "short", 0), 0, 1, LINE);
    assert_int_equal(tlog_topic_remove(unit_topic(u, "ever"), true), 0);
    assert_int_equal(tlog_topic_remove(unit_topic(u, "long"), true), 0);
    int64_t next_ns = tlog_store_expire(u->store);
    assert_true(next_ns > hour_ns / 2 - second_ns && next_ns <= hour_ns / 2);
    free(items(u, 3));
    simdisk_jump(u->disk, 48 * hour_ns); /* a clock that jumps empties no trash */
    assert_true(tlog_store_expire(u->store) > 0);
    free(items(u, 3));
    simdisk_advance(u->disk, next_ns);
    assert_true(tlog_store_expire(u->store) > 0);
    free(items(u, 2)); /* the topic's key held for its partition */
    assert_int_equal(tlog_topic_remove(unit_topic(u, "short"), true), 0);
    simdisk_jump(u->disk, -48 * hour_ns);
    simdisk_advance(u->disk, 2 * hour_ns);
    (void)tlog_store_expire(u->store);
    free(items(u, 3)); /* removed while the clock was ahead: by that time */
    simdisk_advance(u->disk, 20 * hour_ns);
    (void)tlog_store_expire(u->store);
    free(items(u, 3));
    simdisk_advance(u->disk, 2 * hour_ns);
    assert_int_equal(tlog_store_expire(u->store) > 0, 1);
    struct tlog_trash_item *all = items(u, 2);
    assert_item(&all[0], "ever", -1);
    assert_item(&all[1], "short", -1);
    free(all);
    assert_int_equal(tlog_store_config_set(u->store, "trash.retention.ms=0\n", false, &u->error), 0);
    simdisk_advance(u->disk, 48 * hour_ns);
    (void)tlog_store_maintain(u->store);
    all = items(u, 1);
    assert_item(&all[0], "ever", -1);
    free(all);
}

/* A topic's own key, in the configuration that it took along; and what a kill left of an item is cleared away. */
static void test_discarding_cut_short(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    assert_int_equal(tlog_partition_remove(filled(u, "t", 0, 3), true), 0);
    struct tlog_trash_item *all = items(u, 1);
    simdisk_fail(u->disk, 1U << SIM_UNLINK, 1, EIO, true);
    assert_int_equal(tlog_store_discard(u->store, all->name, &u->error), 0);
    simdisk_fail(u->disk, 0, 0, 0, false);
    free(all);
    free(items(u, 0));
    assert_int_equal(unit_count(u, "trash", ".gone."), 1);
    unit_reopen(u);
    assert_int_equal(tlog_store_expire(u->store), -1);
    assert_int_equal(unit_count(u, "trash", ""), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_SIM(test_a_partition_comes_back),
        UNIT_BOTH(test_positions_are_never_used_twice),
        UNIT_SIM(test_a_topic_comes_back),
        UNIT_SIM(test_sealed_segments_come_back),
        UNIT_BOTH(test_pinned_segments_do_not_come_back),
        UNIT_SIM(test_the_trash_is_durable),
        UNIT_BOTH(test_a_topic_made_anew),
        UNIT_BOTH(test_piece_by_piece),
        UNIT_SIM(test_without_an_origin),
        UNIT_BOTH(test_long_names),
        UNIT_SIM(test_cut_short),
        UNIT_BOTH(test_looking_into_it),
        UNIT_SIM(test_items_expire),
        UNIT_SIM(test_discarding_cut_short),
    };
    return cmocka_run_group_tests_name("trash", tests, NULL, NULL);
}
