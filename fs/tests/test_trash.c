/* The tree of the trash: what can be seen in it, and what removing takes out of sight and what for good. The store's
 * trash is played: a list of paths. Nodes are made here, and remember their items. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "daemon.h"
#include "ops.h"
#include "trash.h"
#include "tree.h"

static const struct {
    const char *directory, *name;
    mode_t type;
} things[] = {
    {"", "a.1", S_IFDIR},    {"", "a.10", S_IFDIR},   {"a.1", "origin", S_IFREG},  {"a.1", "0", S_IFDIR},
    {"a.1/0", "x", S_IFREG}, {"a.1/0", "y", S_IFREG}, {"a.10", "origin", S_IFREG},
};

static char discarded[64];
static struct tfs fs;

int tlog_trash_list(struct tlog_store *store, const char *path,
                    int (*each)(void *arg, const char *name, const struct stat *st), void *arg)
{
    int result = 0;

    (void)store;
    for (size_t i = 0; i < sizeof things / sizeof *things && result == 0; i++)
        if (strcmp(things[i].directory, path) == 0) {
            const struct stat st = {.st_mode = things[i].type | 0644, .st_ino = i + 1, .st_size = 100, .st_blocks = 8};
            result = each(arg, things[i].name, &st);
        }
    return result;
}

int tlog_store_discard(struct tlog_store *store, const char *item, struct tlog_error *error)
{
    (void)store, (void)error;
    if (strcmp(item, "a.1") != 0 && strcmp(item, "a.10") != 0)
        return -ENOENT;
    snprintf(discarded, sizeof discarded, "%s", item);
    return 0;
}

int tlog_trash_open(struct tlog_store *store, const char *path, struct tlog_segment_file **out)
{
    (void)store, (void)path;
    *out = NULL;
    return -ENOENT;
}

void tlog_segment_file_close(struct tlog_segment_file *file)
{
    (void)file;
}

void tlog_store_attr(struct tlog_store *store, struct tlog_attr *out)
{
    (void)store;
    *out = (struct tlog_attr){.mode = 0777, .uid = 7, .gid = 8};
}

int64_t tlog_store_mtime_ns(struct tlog_store *store)
{
    (void)store;
    return 0;
}

void tfs_stat_owner(struct stat *out, mode_t type, const struct tlog_attr *attr)
{
    out->st_mode = type | attr->mode;
    out->st_uid = attr->uid;
    out->st_gid = attr->gid;
}

void tfs_stat_times(struct stat *out, int64_t mtime_ns, int64_t ctime_ns)
{
    (void)out, (void)mtime_ns, (void)ctime_ns;
}

uint64_t tfs_tree_ino(const struct tfs_node *directory, const char *name)
{
    return directory->ino * 31 + strlen(name);
}

bool tfs_tree_same(const void *item, const void *found)
{
    return item == found;
}

void tfs_tree_read_file(struct fuse_req *req, struct tfs_node *node, void *file, size_t bytes, uint64_t offset)
{
    (void)req, (void)node, (void)file, (void)bytes, (void)offset;
}

void tfs_tree_close_file(struct tfs *daemon, struct tfs_node *node, void *file)
{
    (void)daemon, (void)node, (void)file;
}

int tfs_node_find_in_tree(struct tfs *daemon, struct tfs_node *directory, const struct tfs_tree *tree, uint64_t ino,
                          void *item, struct tfs_node **out)
{
    (void)daemon;
    *out = calloc(1, sizeof **out);
    assert_non_null(*out);
    **out = (struct tfs_node){.kind = TFS_TREE, .ino = ino, .directory = directory, .tree = tree, .item = item};
    return 0;
}

static struct tfs_node top = {.kind = TFS_TREE, .ino = 1, .tree = &tfs_trash_tree};

static int start(void **state)
{
    (void)state;
    fs.read_only = false;
    discarded[0] = '\0';
    tfs_trash_init(&fs.trash);
    return 0;
}

static int end(void **state)
{
    (void)state;
    tfs_trash_release(&fs.trash);
    return 0;
}

static struct tfs_node *find(struct tfs_node *directory, const char *name)
{
    struct tfs_node *node = NULL;
    int result = directory->tree->find(&fs, directory, name, 0, &node);

    assert_true(result == 0 || result == -ENOENT);
    return result == 0 ? node : NULL;
}

static void drop(struct tfs_node *node)
{
    node->tree->drop(&fs, node->item);
    free(node);
}

/* The names of a directory in one word. */
static const char *names(struct tfs_node *directory)
{
    static char all[128];
    struct tfs_listing listing = {0};

    assert_int_equal(directory->tree->list(&fs, directory, &listing), 0);
    all[0] = '\0';
    for (size_t i = 0; i < listing.count; i++) {
        strcat(all, listing.list[i].name);
        strcat(all, listing.list[i].type == S_IFDIR ? "/ " : " ");
    }
    tfs_listing_clear(&listing);
    return all;
}

static void shows_what_is_there(void **state)
{
    struct tfs_node *item = find(&top, "a.1"), *inner = find(item, "0"), *file = find(inner, "x");
    struct stat st = {0};

    (void)state;
    assert_string_equal(names(&top), "a.1/ a.10/ ");
    assert_string_equal(names(item), "origin 0/ ");
    assert_string_equal(names(inner), "x y ");
    assert_null(find(&top, "a"));
    assert_null(find(inner, "z"));
    assert_true(item->tree->directory && inner->tree->directory && !file->tree->directory);
    assert_int_equal(file->tree->stat(&fs, file, &st), 0);
    assert_int_equal(st.st_size, 100);
    assert_int_equal(st.st_blocks, 8);
    drop(file);
    drop(inner);
    drop(item);
}

/* Whatever the modes of the topics were. */
static void is_the_owners_alone(void **state)
{
    struct tfs_node *item = find(&top, "a.1"), *file = find(item, "origin");
    struct stat st = {0};

    (void)state;
    assert_int_equal(top.tree->stat(&fs, &top, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    assert_int_equal(item->tree->stat(&fs, item, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    assert_int_equal(file->tree->stat(&fs, file, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0400);
    assert_int_equal(st.st_uid, 7);
    assert_int_equal(st.st_gid, 8);
    drop(file);
    drop(item);
}

/* As rm -r does it. */
static void goes_as_a_whole_in_the_end(void **state)
{
    struct tfs_node *item = find(&top, "a.1"), *inner = find(item, "0");
    const struct tfs_tree *tree = item->tree;

    (void)state;
    assert_int_equal(tree->unlink(&fs, item, "origin"), 0);
    assert_int_equal(tree->unlink(&fs, item, "origin"), -ENOENT);
    assert_string_equal(names(item), "0/ ");
    assert_int_equal(tree->rmdir(&fs, item, "0"), -ENOTEMPTY);
    assert_int_equal(tree->unlink(&fs, inner, "x"), 0);
    assert_int_equal(tree->rmdir(&fs, item, "0"), -ENOTEMPTY);
    assert_int_equal(tree->unlink(&fs, inner, "y"), 0);
    assert_null(find(inner, "y"));
    assert_int_equal(tree->rmdir(&fs, item, "0"), 0);
    assert_string_equal(names(item), "");
    assert_string_equal(discarded, "");
    assert_int_equal(top.tree->rmdir(&fs, &top, "a.1"), 0);
    assert_string_equal(discarded, "a.1");
    drop(inner);
    drop(item);
}

static void goes_with_all_that_is_in_it(void **state)
{
    (void)state;
    assert_int_equal(top.tree->rmdir(&fs, &top, "a.10"), 0);
    assert_string_equal(discarded, "a.10");
    assert_int_equal(top.tree->rmdir(&fs, &top, "b"), -ENOENT);
}

static void tells_files_from_directories(void **state)
{
    struct tfs_node *item = find(&top, "a.1");

    (void)state;
    assert_int_equal(item->tree->unlink(&fs, item, "0"), -EISDIR);
    assert_int_equal(item->tree->rmdir(&fs, item, "origin"), -ENOTDIR);
    assert_null(top.tree->unlink);
    assert_string_equal(names(item), "origin 0/ ");
    drop(item);
}

/* Another item of that name may come, and one whose name begins with it is there. */
static void remembers_nothing_of_an_item_that_left(void **state)
{
    struct tfs_node *item = find(&top, "a.1"), *longer = find(&top, "a.10");

    (void)state;
    assert_int_equal(item->tree->unlink(&fs, item, "origin"), 0);
    assert_int_equal(longer->tree->unlink(&fs, longer, "origin"), 0);
    tfs_trash_left(&fs.trash, "a.1");
    assert_string_equal(names(item), "origin 0/ ");
    assert_string_equal(names(longer), "");
    drop(longer);
    drop(item);
}

static void changes_nothing_when_mounted_read_only(void **state)
{
    struct tfs_node *item = find(&top, "a.1");

    (void)state;
    fs.read_only = true;
    assert_int_equal(item->tree->unlink(&fs, item, "origin"), -EROFS);
    assert_int_equal(item->tree->rmdir(&fs, item, "0"), -EROFS);
    assert_int_equal(top.tree->rmdir(&fs, &top, "a.1"), -EROFS);
    assert_string_equal(discarded, "");
    assert_string_equal(names(item), "origin 0/ ");
    drop(item);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shows_what_is_there, start, end),
        cmocka_unit_test_setup_teardown(is_the_owners_alone, start, end),
        cmocka_unit_test_setup_teardown(goes_as_a_whole_in_the_end, start, end),
        cmocka_unit_test_setup_teardown(goes_with_all_that_is_in_it, start, end),
        cmocka_unit_test_setup_teardown(tells_files_from_directories, start, end),
        cmocka_unit_test_setup_teardown(remembers_nothing_of_an_item_that_left, start, end),
        cmocka_unit_test_setup_teardown(changes_nothing_when_mounted_read_only, start, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
