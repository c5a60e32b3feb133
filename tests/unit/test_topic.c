/* Topics: their names, making, removing and renaming, their configuration and modes, and what is inherited. */
#include "unit.h"

static char *name_of(char c, size_t length)
{
    static char name[300];
    memset(name, c, length);
    name[length] = 0;
    return name;
}

static void test_names(void **state)
{
    struct unit *u = *state;
    static const char *const bad[] = {"", ".", "..", ".hidden", "a/b", "a b", "a\n", "\xc3\xa4", "a@b", "a:b", "a\x7f"};
    static const char *const good[] = {"a", "A-Z_0.9", "-", "_", "0", "a..", "x.y.z"};
    unit_open(u);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(tlog_topic_create(u->store, bad[i], 1, NULL, NULL, &u->error), -EINVAL);
        assert_non_null(strstr(u->error.text, "not a topic name"));
    }
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(tlog_topic_create(u->store, good[i], 1, NULL, NULL, &u->error), 0);
    assert_int_equal(tlog_topic_create(u->store, name_of('n', 249), 1, NULL, NULL, NULL), 0);
    assert_int_equal(tlog_topic_create(u->store, name_of('n', 250), 1, NULL, NULL, NULL), -ENAMETOOLONG);
    assert_int_equal(unit_count(u, "topics", ""), 8);
    unit_reopen(u);
    struct tlog_topic **topics;
    size_t count;
    assert_int_equal(tlog_store_topics(u->store, &topics, &count), 0);
    static const char *const order[] = {"-", "0", "A-Z_0.9", "_", "a", "a.."};
    assert_int_equal(count, 8);
    for (unsigned i = 0; i < 6; i++) {
        char name[256];
        tlog_topic_name(topics[i], name);
        assert_string_equal(name, order[i]);
    }
    tlog_topics_free(topics, count);
    assert_null(tlog_topic_get(u->store, "none"));
    assert_null(tlog_topic_get(u->store, ""));
}

static void test_creating(void **state)
{
    struct unit *u = *state;
    struct tlog_topic *topic = NULL, *again = NULL;
    unit_open(u);
    assert_int_equal(tlog_topic_create(u->store, "t", 3, NULL, &topic, &u->error), 0);
    assert_int_equal(tlog_topic_partitions(topic), 3);
    assert_int_equal(tlog_topic_create(u->store, "t", 1, NULL, &again, &u->error), -EEXIST);
    assert_null(again);
    assert_string_equal(u->error.text, "t: File exists");
    assert_int_equal(tlog_topic_create(u->store, "many", 1025, NULL, NULL, &u->error), -EINVAL);
    assert_string_equal(u->error.text, "many: more partitions than partitions.max");
    assert_null(tlog_topic_get(u->store, "many"));
    assert_int_equal(tlog_store_config_set(u->store, "partitions=4\n", true, NULL), 0);
    assert_int_equal(tlog_topic_create(u->store, "four", 0, NULL, NULL, NULL), 0);
    assert_int_equal(tlog_topic_partitions(unit_topic(u, "four")), 4);
    struct tlog_partition *p = tlog_partition_get(topic, 2);
    assert_int_equal(tlog_partition_number(p), 2);
    assert_ptr_equal(tlog_partition_topic(p), topic);
    assert_null(tlog_partition_user(p));
    tlog_partition_set_user(p, u);
    assert_ptr_equal(tlog_partition_user(p), u);
    assert_ptr_equal(tlog_partition_ref(p), p);
    tlog_partition_unref(p);
    tlog_partition_unref(p);
    assert_null(tlog_partition_get(topic, 3));
    uint8_t id[16];
    memcpy(id, tlog_topic_id(topic), 16);
    tlog_topic_unref(topic);
    unit_reopen(u);
    assert_memory_equal(tlog_topic_id(unit_topic(u, "t")), id, 16);
    assert_int_equal(tlog_topic_partitions(unit_topic(u, "t")), 3);
}

static void test_a_creation_that_fails_leaves_nothing(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    for (uint64_t skip = 0;; skip++) {
        simdisk_fail(u->disk, SIM_MUTATING, skip, ENOSPC, false);
        int r = tlog_topic_create(u->store, "t", 2, NULL, NULL, NULL);
        bool struck = simdisk_failed(u->disk);
        simdisk_fail(u->disk, 0, 0, 0, false);
        if (!struck)
            break;
        if (r == 0) { /* what could fail did not matter */
            assert_int_equal(tlog_topic_remove(unit_topic(u, "t"), false), 0);
            continue;
        }
        assert_int_equal(r, -ENOSPC);
        assert_null(tlog_topic_get(u->store, "t"));
        assert_int_equal(unit_count(u, "topics", ""), 0);
    }
    unit_append(unit_get(u, "t", 1), "works\n");
    unit_reopen(u);
    unit_assert_text(unit_get(u, "t", 1), "works\n");
}

static void test_adding_partitions(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_topic *topic = unit_topic(u, "t");
    int64_t mtime_ns = tlog_topic_mtime_ns(topic);
    assert_int_equal(tlog_topic_add_partition(topic, 0, NULL), -EEXIST);
    assert_int_equal(tlog_topic_add_partition(topic, 1024, NULL), -EINVAL);
    assert_int_equal(tlog_topic_add_partition(topic, UINT32_MAX, NULL), -EINVAL);
    assert_int_equal(tlog_topic_mtime_ns(topic), mtime_ns);
    assert_int_equal(tlog_topic_add_partition(topic, 4, NULL), 0);
    assert_true(tlog_topic_mtime_ns(topic) > mtime_ns);
    assert_int_equal(tlog_topic_partitions(topic), 5);
    for (unsigned i = 0; i < 5; i++)
        unit_get(u, "t", i);
    assert_int_equal(tlog_partition_remove(unit_get(u, "t", 2), false), 0);
    assert_null(tlog_partition_get(topic, 2));
    assert_int_equal(tlog_topic_partitions(topic), 5);
    assert_int_equal(tlog_topic_add_partition(topic, 2, NULL), 0);
    assert_int_equal(tlog_partition_remove(unit_get(u, "t", 4), false), 0);
    assert_int_equal(tlog_partition_remove(unit_get(u, "t", 3), false), 0);
    assert_int_equal(tlog_topic_partitions(topic), 3);
    unit_config(u, "t", "partitions.max=3");
    assert_int_equal(tlog_topic_add_partition(topic, 3, NULL), -EINVAL);
    unit_reopen(u);
    assert_int_equal(tlog_topic_partitions(unit_topic(u, "t")), 3);
}

static void test_removing(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_topic *topic = unit_topic(u, "t");
    struct tlog_partition *p = unit_partition(u, "t", 1);
    struct tlog_writer *writer = unit_writer(u, p);
    assert_int_equal(unit_write(writer, "unfinished"), 10);
    assert_int_equal(tlog_topic_remove(topic, false), -ENOTEMPTY);
    tlog_writer_drop(writer);
    assert_int_equal(tlog_topic_remove(topic, false), 0);
    assert_false(unit_exists(u, "topics/t"));
    assert_false(unit_exists(u, "trash"));
    assert_null(tlog_topic_get(u->store, "t"));
    /* who still has it is told so */
    assert_int_equal(tlog_topic_remove(topic, false), -ESTALE);
    assert_int_equal(tlog_topic_rename(topic, "u"), -ESTALE);
    assert_int_equal(tlog_topic_add_partition(topic, 7, NULL), -ESTALE);
    assert_int_equal(tlog_topic_config_set(topic, "flush.ms=1s", false, NULL), -ESTALE);
    struct tlog_attr attr = {0700, 0, 0};
    assert_int_equal(tlog_topic_set_attr(topic, &attr), -ESTALE);
    assert_int_equal(tlog_partition_set_attr(p, &attr), -ESTALE);
    assert_int_equal(tlog_partition_set_mtime(p, 1), -ESTALE);
    assert_int_equal(tlog_partition_remove(p, true), -ESTALE);
    assert_int_equal(unit_append(p, "x\n"), -ESTALE);
    assert_int_equal(unit_write(writer, "x\n"), -ESTALE);
    assert_int_equal(tlog_partition_sync_wait(p), -ESTALE);
    assert_true(unit_bounds(p).deleted);
    /* one of the same name is another */
    struct tlog_topic *other = unit_topic(u, "t");
    assert_ptr_not_equal(topic, other);
    assert_memory_not_equal(tlog_topic_id(topic), tlog_topic_id(other), 16);
    unit_append(unit_get(u, "t", 0), "new\n");
    unit_reopen(u);
    unit_assert_text(unit_get(u, "t", 0), "new\n");
    unit_release(u);
    assert_int_equal(tlog_topic_partitions(unit_topic(u, "t")), 1);
}

static void test_removing_with_records_goes_to_the_trash(void **state)
{
    struct unit *u = *state;
    char *names[] = {strdup("t"), strdup(name_of('l', 249))};
    unit_open(u);
    for (unsigned i = 0; i < 2; i++) {
        struct tlog_partition *p = unit_partition(u, names[i], 0);
        struct tlog_writer *writer = unit_writer(u, p);
        unit_append(p, "kept\n");
        unit_write(writer, "unfinished");
        assert_int_equal(tlog_topic_remove(tlog_partition_topic(p), false), -ENOTEMPTY);
        assert_int_equal(tlog_topic_remove(tlog_partition_topic(p), true), 0);
        assert_int_equal(unit_write(writer, "x"), -ESTALE);
        assert_null(tlog_topic_get(u->store, names[i]));
        free(names[i]);
    }
    assert_int_equal(unit_count(u, "trash", "t."), 1);
    assert_int_equal(unit_count(u, "trash", "lll"), 1);
    assert_int_equal(unit_count(u, "topics", ""), 0);
    unit_close(u);
    unit_open(u);
    assert_int_equal(unit_recovery(u).partitions, 0);
}

static int first_name(void *arg, const char *name)
{
    strcpy(arg, name);
    return 1;
}

static void test_what_is_in_the_trash(void **state)
{
    struct unit *u = *state;
    char path[128], name[100];
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    struct tlog_writer *writer = unit_writer(u, p);
    unit_append(p, "kept\n");
    unit_write(writer, "unfinished");
    assert_int_equal(tlog_topic_remove(tlog_partition_topic(p), true), 0);
    snprintf(path, sizeof path, "%s/trash", u->path);
    assert_int_equal(u->io->list(u->io, path, first_name, name), 1);
    snprintf(path, sizeof path, "trash/%.60s/0/00000000000000000000.log", name);
    char *text = unit_file(u, path, NULL);
    assert_string_equal(text, "kept\nunfinished\n"); /* the line was ended first */
    free(text);
    snprintf(path, sizeof path, "trash/%.60s/0/00000000000000000000.idx", name);
    assert_int_equal(unit_size(u, path), TLOG_INDEX_HEADER_BYTES + 2 * TLOG_ENTRY_BYTES);
}

static void test_positions_are_never_used_twice(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 1);
    unit_append(p, "one\ntwo\n");
    assert_int_equal(tlog_partition_remove(p, false), -EPERM);
    unit_assert_text(p, "one\ntwo\n");
    assert_int_equal(tlog_partition_remove(p, true), 0);
    uint64_t chain = unit_bounds(p).chain;
    for (unsigned round = 0; round < 3; round++) {
        p = unit_partition(u, "t", 1);
        struct tlog_bounds bounds = unit_bounds(p);
        assert_int_equal(bounds.start, 8 + 4 * round);
        assert_int_equal(bounds.end, 8 + 4 * round);
        assert_int_equal(bounds.start_seq, 2 + round);
        assert_int_equal(bounds.chain, chain);
        unit_append(p, "new\n");
        unit_reopen(u);
        p = unit_get(u, "t", 1);
        unit_assert_text(p, "new\n");
        chain = unit_bounds(p).chain;
        assert_int_equal(tlog_partition_remove(p, true), 0);
        unit_reopen(u);
        assert_null(tlog_partition_get(unit_topic(u, "t"), 1));
        assert_int_equal(tlog_topic_partitions(unit_topic(u, "t")), 1);
    }
    /* made again and removed while empty: it still begins there */
    p = unit_partition(u, "t", 1);
    assert_int_equal(tlog_partition_remove(p, false), 0);
    assert_int_equal(unit_bounds(unit_partition(u, "t", 1)).start, 20);
    unit_close(u);
    assert_string_equal(unit_verify(u), "");
}

static void test_renaming(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_topic *topic = unit_topic(u, "b"), *other = unit_topic(u, "c");
    struct tlog_partition *p = unit_get(u, "b", 0);
    char name[256];
    unit_append(p, "before\n");
    assert_int_equal(tlog_topic_rename(topic, "c"), -EEXIST);
    assert_int_equal(tlog_topic_rename(topic, "bad/name"), -EINVAL);
    assert_int_equal(tlog_topic_rename(topic, name_of('n', 250)), -ENAMETOOLONG);
    assert_int_equal(tlog_topic_rename(topic, "d"), 0);
    tlog_topic_name(topic, name);
    assert_string_equal(name, "d");
    assert_null(tlog_topic_get(u->store, "b"));
    assert_ptr_equal(unit_topic(u, "d"), topic);
    assert_ptr_equal(unit_topic(u, "c"), other);
    unit_append(p, "after\n");
    assert_int_equal(tlog_topic_rename(other, "b"), 0);
    unit_append(unit_get(u, "b", 0), "other\n");
    assert_int_equal(tlog_partition_sync_wait(p), 0);
    unit_reopen(u);
    unit_assert_text(unit_get(u, "d", 0), "before\nafter\n");
    unit_assert_text(unit_get(u, "b", 0), "other\n");
    assert_null(tlog_topic_get(u->store, "c"));
    unit_config(u, "d", "segment.bytes=1K"); /* segments made later are made in the right place */
    unit_lines(unit_get(u, "d", 0), 0, 30, 100);
    unit_reopen(u);
    assert_int_equal(unit_bounds(unit_get(u, "d", 0)).end_seq, 32);
}

static void test_a_renaming_that_was_synced_stays(void **state)
{
    struct unit *u = *state;
    for (uint64_t seed = 1; seed < 10; seed++) {
        char from[8], to[8];
        snprintf(from, sizeof from, "a%" PRIu64, seed);
        snprintf(to, sizeof to, "b%" PRIu64, seed);
        unit_open(u);
        struct tlog_partition *p = unit_partition(u, from, 0);
        unit_append(p, "line\n");
        assert_int_equal(tlog_store_sync(u->store), 0);
        assert_int_equal(tlog_topic_rename(tlog_partition_topic(p), to), 0);
        unit_append(p, "more\n");
        assert_int_equal(tlog_partition_sync_wait(p), 0);
        unit_power_cut(u, seed);
        unit_open(u);
        assert_null(tlog_topic_get(u->store, from));
        unit_assert_text(unit_get(u, to, 0), "line\nmore\n");
        unit_close(u);
    }
}

/* ---- configuration ---- */

static void assert_config(struct tlog_topic *topic, const char *expected)
{
    char *text;
    assert_int_equal(tlog_topic_config_text(topic, &text), 0);
    assert_string_equal(text, expected);
    free(text);
}

static void test_configuration(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_topic *topic = unit_topic(u, "t");
    assert_config(topic, "");
    assert_int_equal(tlog_topic_value(topic, TLOG_FLUSH_MS), 5000);
    const char *text = "# ours\nflush.ms=2s\nsegment.bytes=1M\n";
    assert_int_equal(tlog_topic_config_set(topic, text, true, &u->error), 0);
    assert_config(topic, text);
    assert_int_equal(tlog_topic_value(topic, TLOG_FLUSH_MS), 2000);
    assert_int_equal(tlog_topic_value(topic, TLOG_SEGMENT_BYTES), 1 << 20);
    assert_int_equal(tlog_topic_config_set(topic, "flush.ms=3s\nquota.bytes=7", false, &u->error), 0);
    const char *merged = "# ours\nflush.ms=3s\nsegment.bytes=1M\nquota.bytes=7\n";
    assert_config(topic, merged);
    assert_int_equal(tlog_topic_value(topic, TLOG_FLUSH_MS), 3000);
    assert_int_equal(tlog_topic_value(topic, TLOG_QUOTA_BYTES), 7);
    /* all or nothing */
    assert_int_equal(tlog_topic_config_set(topic, "flush.ms=4s\nwrong=1", false, &u->error), -EINVAL);
    assert_string_equal(u->error.text, "line 2: wrong: unknown key");
    assert_int_equal(tlog_topic_config_set(topic, "wrong=1", true, NULL), -EINVAL);
    assert_config(topic, merged);
    assert_int_equal(tlog_topic_value(topic, TLOG_FLUSH_MS), 3000);
    unit_reopen(u);
    topic = unit_topic(u, "t");
    assert_config(topic, merged);
    assert_int_equal(tlog_topic_value(topic, TLOG_QUOTA_BYTES), 7);
    assert_int_equal(tlog_topic_config_set(topic, "", true, NULL), 0);
    assert_config(topic, "");
    assert_int_equal(tlog_topic_value(topic, TLOG_FLUSH_MS), 5000);
    assert_int_equal(tlog_topic_value(topic, TLOG_QUOTA_BYTES), -1);
}

static void test_a_configuration_that_cannot_be_written_does_not_hold(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_topic *topic = unit_topic(u, "t");
    unit_config(u, "t", "flush.ms=2s");
    static const unsigned kinds[] = {SIM_CREATE, SIM_WRITE, SIM_SYNC, SIM_RENAME};
    for (unsigned i = 0; i < 4; i++) {
        simdisk_fail(u->disk, 1U << kinds[i], 0, EIO, false); /* a full disk has a few blocks kept back for it */
        assert_int_equal(tlog_topic_config_set(topic, "flush.ms=9s", false, NULL), -EIO);
        assert_config(topic, "flush.ms=2s\n");
        assert_int_equal(tlog_topic_value(topic, TLOG_FLUSH_MS), 2000);
        simdisk_fail(u->disk, 1U << kinds[i], 0, ENOSPC, false);
        assert_int_equal(tlog_store_config_set(u->store, "quota.bytes=1", false, NULL), -ENOSPC);
        assert_int_equal(tlog_topic_value(topic, TLOG_QUOTA_BYTES), -1);
        assert_false(unit_exists(u, "topics/t/topic.conf.new"));
    }
    unit_reopen(u);
    assert_config(unit_topic(u, "t"), "flush.ms=2s\n");
}

static void test_inheritance_from_the_root(void **state)
{
    struct unit *u = *state;
    char *text;
    unit_open(u);
    struct tlog_topic *plain = unit_topic(u, "plain"), *own = unit_topic(u, "own");
    unit_config(u, "own", "flush.ms=1s");
    assert_int_equal(tlog_store_config_set(u->store, "# root\nflush.ms=7s\nquota.bytes=100\n", true, NULL), 0);
    assert_int_equal(tlog_topic_value(plain, TLOG_FLUSH_MS), 7000); /* at once */
    assert_int_equal(tlog_topic_value(own, TLOG_FLUSH_MS), 1000);
    assert_int_equal(tlog_topic_value(own, TLOG_QUOTA_BYTES), 100);
    assert_int_equal(tlog_topic_value(unit_topic(u, "later"), TLOG_QUOTA_BYTES), 100);
    assert_int_equal(tlog_store_config_set(u->store, "quota.bytes=50", false, NULL), 0);
    assert_int_equal(tlog_store_config_text(u->store, &text), 0);
    assert_string_equal(text, "# root\nflush.ms=7s\nquota.bytes=50\n");
    free(text);
    assert_int_equal(tlog_store_config_set(u->store, "nonsense", false, &u->error), -EINVAL);
    unit_reopen(u);
    assert_int_equal(tlog_topic_value(unit_topic(u, "plain"), TLOG_FLUSH_MS), 7000);
    assert_int_equal(tlog_topic_value(unit_topic(u, "own"), TLOG_FLUSH_MS), 1000);
    assert_int_equal(tlog_topic_value(unit_topic(u, "own"), TLOG_QUOTA_BYTES), 50);
    assert_int_equal(tlog_topic_config_set(unit_topic(u, "own"), "", true, NULL), 0);
    assert_int_equal(tlog_topic_value(unit_topic(u, "own"), TLOG_FLUSH_MS), 7000);
}

/* ---- modes, owners, times ---- */

static void assert_partition_attr(struct tlog_partition *p, uint32_t mode, uint32_t uid, uint32_t gid)
{
    struct tlog_attr attr;
    tlog_partition_attr(p, &attr);
    assert_int_equal(attr.mode, mode);
    assert_int_equal(attr.uid, uid);
    assert_int_equal(attr.gid, gid);
}

static void test_modes_and_owners(void **state)
{
    struct unit *u = *state;
    struct tlog_attr attr = {0750, 1000, 100}, partition = {0640, 1001, 101}, changed = {0711, 7, 8}, got;
    struct tlog_topic *topic;
    unit_open(u);
    assert_int_equal(tlog_topic_create(u->store, "t", 2, &attr, &topic, NULL), 0);
    tlog_topic_attr(topic, &got);
    assert_memory_equal(&got, &attr, sizeof got);
    assert_partition_attr(unit_get(u, "t", 0), 0640, 1000, 100); /* the topic's, without x */
    assert_int_equal(tlog_topic_add_partition(topic, 2, &partition), 0);
    assert_partition_attr(unit_get(u, "t", 2), 0640, 1001, 101);
    assert_int_equal(tlog_partition_set_attr(unit_get(u, "t", 1), &(struct tlog_attr){0600, 2, 3}), 0);
    /* the topic's changing is not the partitions' */
    assert_int_equal(tlog_topic_set_attr(topic, &changed), 0);
    tlog_topic_unref(topic);
    for (unsigned i = 0; i < 2; i++) {
        topic = unit_topic(u, "t");
        tlog_topic_attr(topic, &got);
        assert_memory_equal(&got, &changed, sizeof got);
        assert_partition_attr(unit_get(u, "t", 0), 0640, 1000, 100);
        assert_partition_attr(unit_get(u, "t", 1), 0600, 2, 3);
        assert_partition_attr(unit_get(u, "t", 2), 0640, 1001, 101);
        unit_reopen(u);
    }
    assert_int_equal(tlog_topic_add_partition(unit_topic(u, "t"), 3, NULL), 0);
    assert_partition_attr(unit_get(u, "t", 3), 0600, 7, 8);
    struct tlog_attr root = {01777, 5, 6};
    assert_int_equal(tlog_store_set_attr(u->store, &root), 0);
    unit_reopen(u);
    tlog_store_attr(u->store, &got);
    assert_memory_equal(&got, &root, sizeof got);
}

static void test_a_partitions_times(void **state)
{
    struct unit *u = *state;
    unit_open(u);
    struct tlog_partition *p = unit_partition(u, "t", 0);
    unit_append(p, "a\n");
    int64_t appended_ns = unit_bounds(p).mtime_ns, ctime_ns = unit_bounds(p).ctime_ns;
    assert_int_equal(tlog_partition_set_mtime(p, 12345), 0);
    assert_int_equal(unit_bounds(p).mtime_ns, 12345);
    assert_true(unit_bounds(p).ctime_ns > ctime_ns);
    assert_int_equal(tlog_partition_set_attr(p, &(struct tlog_attr){0600, 1, 1}), 0);
    assert_int_equal(unit_bounds(p).mtime_ns, 12345); /* a chmod leaves it */
    unit_reopen(u);
    p = unit_get(u, "t", 0);
    assert_int_equal(unit_bounds(p).mtime_ns, 12345);
    assert_partition_attr(p, 0600, 1, 1);
    unit_append(p, "b\n"); /* it holds until the next append */
    assert_true(unit_bounds(p).mtime_ns >= appended_ns);
    unit_reopen(u);
    assert_true(unit_bounds(unit_get(u, "t", 0)).mtime_ns >= appended_ns);
    p = unit_get(u, "t", 0);
    assert_int_equal(tlog_partition_set_mtime(p, -5), 0); /* before 1970 */
    assert_int_equal(unit_bounds(p).mtime_ns, -5);
}

/* ---- with threads ---- */

struct churn {
    struct unit *u;
    unsigned number;
    atomic_bool *stop;
    unsigned done, failures;
};

static void *churn_topics(void *arg)
{
    struct churn *churn = arg;
    char name[32], other[32];
    for (unsigned i = 0; i < 15; i++) {
        struct tlog_topic *topic;
        snprintf(name, sizeof name, "churn-%u", churn->number);
        snprintf(other, sizeof other, "churned-%u", churn->number);
        if (tlog_topic_create(churn->u->store, name, 2, NULL, &topic, NULL) < 0) {
            churn->failures++;
            break;
        }
        struct tlog_partition *p = tlog_partition_get(topic, 1);
        churn->failures += unit_append(p, "line\n") != 0;
        churn->failures += tlog_topic_rename(topic, other) != 0;
        churn->failures += unit_append(p, "line\n") != 0;
        churn->failures += i % 4 == 0 && tlog_partition_sync_wait(p) != 0;
        churn->failures += tlog_topic_remove(topic, true) != 0;
        churn->failures += unit_append(p, "line\n") != -ESTALE;
        tlog_partition_unref(p);
        tlog_topic_unref(topic);
    }
    atomic_store(churn->stop, true);
    return NULL;
}

static void *look_on(void *arg)
{
    struct churn *churn = arg;
    do {
        struct tlog_topic **topics;
        struct tlog_store_status status;
        size_t count;
        tlog_store_status(churn->u->store, &status);
        if (tlog_store_topics(churn->u->store, &topics, &count) < 0)
            return NULL;
        for (size_t i = 0; i < count; i++) {
            char name[256];
            tlog_topic_name(topics[i], name);
            churn->failures += strncmp(name, "churn", 5) != 0;
            struct tlog_partition *p = tlog_partition_get(topics[i], 1);
            if (p) {
                struct tlog_view view;
                churn->failures += unit_bounds(p).end > 10;
                if (tlog_partition_view(p, 0, 5, false, &view) == 0)
                    churn->failures += view.length > 0 && memcmp(view.data, "line\n", 5) != 0;
                tlog_view_release(&view);
            }
            tlog_partition_unref(p);
        }
        tlog_topics_free(topics, count);
        churn->done++;
    } while (!atomic_load(churn->stop));
    return NULL;
}

static void test_topics_come_and_go(void **state)
{
    struct unit *u = *state;
    atomic_bool stop = false;
    struct churn churn[3];
    pthread_t threads[3];
    u->options.no_upkeep = false;
    unit_open(u);
    assert_int_equal(tlog_store_config_set(u->store, "flush.ms=100ms", true, NULL), 0);
    for (unsigned i = 0; i < 3; i++) {
        churn[i] = (struct churn){u, i, &stop, 0, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, i < 2 ? churn_topics : look_on, &churn[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(churn[i].failures, 0);
    }
    assert_true(churn[2].done > 0);
    unit_close(u);
    assert_int_equal(unit_count(u, "trash", "churned-"), 30);
    assert_int_equal(unit_count(u, "topics", ""), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_names),
        UNIT_BOTH(test_creating),
        UNIT_SIM(test_a_creation_that_fails_leaves_nothing),
        UNIT_BOTH(test_adding_partitions),
        UNIT_BOTH(test_removing),
        UNIT_BOTH(test_removing_with_records_goes_to_the_trash),
        UNIT_BOTH(test_what_is_in_the_trash),
        UNIT_BOTH(test_positions_are_never_used_twice),
        UNIT_BOTH(test_renaming),
        UNIT_SIM(test_a_renaming_that_was_synced_stays),
        UNIT_BOTH(test_configuration),
        UNIT_SIM(test_a_configuration_that_cannot_be_written_does_not_hold),
        UNIT_BOTH(test_inheritance_from_the_root),
        UNIT_BOTH(test_modes_and_owners),
        UNIT_BOTH(test_a_partitions_times),
        UNIT_BOTH(test_topics_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
