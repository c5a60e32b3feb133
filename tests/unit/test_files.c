/* The small files: read whole, replaced whole and durably, modes and owners, trees removed. */
#include "unit.h"

static const char *at(struct unit *u, const char *name)
{
    static char path[4][160];
    static unsigned turn;
    char *to = path[turn++ % 4];
    snprintf(to, sizeof path[0], "%s/%s", u->path, name);
    return to;
}

static void begin(struct unit *u)
{
    assert_int_equal(u->io->mkdir(u->io, u->path), 0);
    if (u->disk)
        assert_int_equal(u->io->sync_dir(u->io, "/"), 0);
}

static void test_reading(void **state)
{
    struct unit *u = *state;
    char *text = (char *)1;
    size_t bytes = 7;
    begin(u);
    assert_int_equal(tlog_file_read(u->io, at(u, "none"), &text, &bytes), -ENOENT);
    assert_ptr_equal(text, (char *)1);
    unit_put(u, "empty", 0, "", 0);
    assert_int_equal(tlog_file_read(u->io, at(u, "empty"), &text, &bytes), 0);
    assert_int_equal(bytes, 0);
    assert_string_equal(text, "");
    free(text);
    unit_put(u, "some", 0, "with\0nul", 8);
    assert_int_equal(tlog_file_read(u->io, at(u, "some"), &text, &bytes), 0);
    assert_int_equal(bytes, 8);
    assert_memory_equal(text, "with\0nul", 9);
    free(text);
    assert_true(tlog_file_read(u->io, u->path, &text, &bytes) < 0); /* a directory */
}

static void test_replacing(void **state)
{
    struct unit *u = *state;
    char *text;
    begin(u);
    static const char *const texts[] = {"first", "", "a longer third one", "4"};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(tlog_file_replace(u->io, u->path, "file", texts[i], strlen(texts[i])), 0);
        text = unit_file(u, "file", NULL);
        assert_string_equal(text, texts[i]);
        free(text);
        assert_false(unit_exists(u, "file.new"));
    }
    assert_int_equal(tlog_file_replace(u->io, at(u, "none"), "file", "x", 1), -ENOENT);
}

static void test_replacing_is_all_or_nothing(void **state)
{
    struct unit *u = *state;
    begin(u);
    assert_int_equal(tlog_file_replace(u->io, u->path, "file", "old", 3), 0);
    for (uint64_t skip = 0;; skip++) {
        simdisk_fail(u->disk, SIM_MUTATING, skip, EIO, false);
        int r = tlog_file_replace(u->io, u->path, "file", "new one", 7);
        bool struck = simdisk_failed(u->disk);
        simdisk_fail(u->disk, 0, 0, 0, false);
        assert_int_equal(r, struck ? -EIO : 0);
        for (uint64_t seed = 0; seed < 8; seed++) { /* whatever a power cut leaves */
            struct simdisk *cut = simdisk_clone(u->disk);
            char *text;
            simdisk_power_cut(cut, seed);
            assert_int_equal(tlog_file_read(simdisk_io(cut), at(u, "file"), &text, NULL), 0);
            if (strcmp(text, "new one") != 0) {
                assert_string_equal(text, "old");
                assert_true(struck);
            }
            free(text);
            simdisk_free(cut);
        }
        if (!struck)
            break;
    }
}

static void test_modes_and_owners(void **state)
{
    struct unit *u = *state;
    struct tlog_attr attr = {01777, UINT32_MAX, 0}, got = {1, 2, 3};
    int64_t mtime_ns = 5;
    uint64_t end = 6;
    begin(u);
    assert_int_equal(tlog_attr_read(u->io, u->path, &got, &mtime_ns, &end), -ENOENT);
    assert_int_equal(tlog_attr_write(u->io, u->path, &attr, 0, UINT64_MAX), 0);
    assert_int_equal(tlog_attr_read(u->io, u->path, &got, &mtime_ns, &end), 0);
    assert_memory_equal(&got, &attr, sizeof got);
    assert_true(mtime_ns == 5 && end == 6); /* none was given: left alone */
    attr = (struct tlog_attr){0, 1, 2};
    assert_int_equal(tlog_attr_write(u->io, u->path, &attr, INT64_MIN, 0), 0);
    assert_int_equal(tlog_attr_read(u->io, u->path, &got, &mtime_ns, &end), 0);
    assert_memory_equal(&got, &attr, sizeof got);
    assert_true(mtime_ns == INT64_MIN && end == 0);
    assert_int_equal(tlog_attr_read(u->io, u->path, &got, NULL, NULL), 0);
    char *text = unit_file(u, "attr", NULL);
    assert_string_equal(text, "mode=0000\nuid=1\ngid=2\nmtime=-9223372036854775808\nend=0\n");
    free(text);
    static const char *const bad[] = {"", "mode=", "mode=0644\nuid=1\n", "uid=1\ngid=2\nmode=0644\n",
                                      "mode=0644\nuid=1\ngid=2\nmtime=7\n"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        unit_truncate(u, "attr", 0);
        unit_put(u, "attr", 0, bad[i], strlen(bad[i]));
        got = (struct tlog_attr){1, 2, 3};
        assert_int_equal(tlog_attr_read(u->io, u->path, &got, NULL, NULL), -EBADMSG);
        assert_int_equal(got.mode, 1);
    }
}

static void test_trees(void **state)
{
    struct unit *u = *state;
    begin(u);
    assert_int_equal(u->io->mkdir(u->io, at(u, "tree")), 0);
    assert_int_equal(u->io->mkdir(u->io, at(u, "tree/a")), 0);
    assert_int_equal(u->io->mkdir(u->io, at(u, "tree/a/b")), 0);
    unit_put(u, "tree/file", 0, "x", 1);
    unit_put(u, "tree/a/file", 0, "x", 1);
    unit_put(u, "tree/a/b/file", 0, "x", 1);
    unit_put(u, "beside", 0, "x", 1);
    tlog_tree_remove(u->io, at(u, "tree"));
    assert_false(unit_exists(u, "tree"));
    assert_true(unit_exists(u, "beside"));
    tlog_tree_remove(u->io, at(u, "tree")); /* none: nothing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_reading),          UNIT_BOTH(test_replacing), UNIT_SIM(test_replacing_is_all_or_nothing),
        UNIT_BOTH(test_modes_and_owners), UNIT_BOTH(test_trees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
