/* The tree `.trash`: what was deleted, as its files are in the store, to be read.
 *
 * An item goes as a whole, with rmdir(2) of its directory, whatever is in it. So that `rm -r` gets there, a file inside
 * can be unlinked, and a directory whose files all were: that takes them out of sight, in this run of the daemon, and no
 * more. An `rm -r` that is stopped half way has lost nothing that could not be restored.
 *
 * Topics have modes of their own, their remains have none: they are the root directory's owner's alone. */
#include "trash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon.h"
#include "ops.h"
#include "tree.h"

static const struct tfs_tree directory_tree, file_tree;

/* ---- paths out of sight ---- */

struct tfs_unseen {
    struct tfs_unseen *next;
    char path[];
};

void tfs_trash_init(struct tfs_trash *trash)
{
    pthread_mutex_init(&trash->lock, NULL);
    trash->unseen = NULL;
}

/* Forgets the paths in an item; NULL: all. */
static void forget_unseen(struct tfs_trash *trash, const char *item)
{
    size_t length = item != NULL ? strlen(item) : 0;

    pthread_mutex_lock(&trash->lock);
    for (struct tfs_unseen **at = &trash->unseen, *unseen; (unseen = *at) != NULL;) {
        if (item != NULL && (strncmp(unseen->path, item, length) != 0 || unseen->path[length] != '/')) {
            at = &unseen->next;
            continue;
        }
        *at = unseen->next;
        free(unseen);
    }
    pthread_mutex_unlock(&trash->lock);
}

void tfs_trash_release(struct tfs_trash *trash)
{
    forget_unseen(trash, NULL);
    pthread_mutex_destroy(&trash->lock);
}

void tfs_trash_left(struct tfs_trash *trash, const char *item)
{
    forget_unseen(trash, item);
}

static bool is_unseen(struct tfs_trash *trash, const char *path)
{
    pthread_mutex_lock(&trash->lock);
    const struct tfs_unseen *unseen = trash->unseen;
    while (unseen != NULL && strcmp(unseen->path, path) != 0)
        unseen = unseen->next;
    pthread_mutex_unlock(&trash->lock);
    return unseen != NULL;
}

static int make_unseen(struct tfs_trash *trash, const char *path)
{
    struct tfs_unseen *unseen = malloc(sizeof *unseen + strlen(path) + 1);

    if (unseen == NULL)
        return -ENOMEM;
    strcpy(unseen->path, path);
    pthread_mutex_lock(&trash->lock);
    unseen->next = trash->unseen;
    trash->unseen = unseen;
    pthread_mutex_unlock(&trash->lock);
    return 0;
}

/* ---- what is there ---- */

struct thing {
    struct stat st;
    char path[]; /* in the trash */
};

static const char *path_of(const struct tfs_node *node)
{
    return node->item != NULL ? ((const struct thing *)node->item)->path : "";
}

/* The path of a name in a directory; to be freed. */
static char *path_in(const struct tfs_node *node, const char *name)
{
    const char *directory = path_of(node);
    char *path = NULL;

    if (asprintf(&path, "%s%s%s", directory, directory[0] != '\0' ? "/" : "", name) < 0)
        return NULL;
    return path;
}

struct search {
    const char *name;
    struct stat st;
};

static int compare(void *arg, const char *name, const struct stat *st)
{
    struct search *search = arg;

    if (strcmp(search->name, name) != 0)
        return 0;
    search->st = *st;
    return 1;
}

/* What is at a name of a directory, in sight. */
static int look(struct tfs *fs, const struct tfs_node *node, const char *name, struct thing **out)
{
    struct search search = {.name = name};
    int result = tlog_trash_list(fs->store, path_of(node), compare, &search);

    if (result <= 0)
        return result == 0 ? -ENOENT : result;
    char *path = path_in(node, name);
    struct thing *thing = path != NULL ? malloc(sizeof *thing + strlen(path) + 1) : NULL;
    if (thing != NULL) {
        thing->st = search.st;
        strcpy(thing->path, path);
    }
    free(path);
    if (thing == NULL)
        return -ENOMEM;
    if (is_unseen(&fs->trash, thing->path)) {
        free(thing);
        return -ENOENT;
    }
    *out = thing;
    return 0;
}

struct list {
    struct tfs *fs;
    const struct tfs_node *node;
    struct tfs_listing *to;
    int result;
};

static int list_one(void *arg, const char *name, const struct stat *st)
{
    struct list *list = arg;
    char *path = path_in(list->node, name);

    if (path == NULL)
        list->result = -ENOMEM;
    else if (!is_unseen(&list->fs->trash, path))
        list->result = tfs_listing_add(list->to, name, tfs_tree_ino(list->node, name), st->st_mode & S_IFMT);
    free(path);
    return list->result != 0;
}

/* ---- functions of all of them ---- */

static int stat_thing(struct tfs *fs, struct tfs_node *node, struct stat *out)
{
    const struct thing *thing = node->item;
    struct tlog_attr attr;

    tlog_store_attr(fs->store, &attr);
    attr.mode = node->tree->directory ? 0700 : 0400;
    tfs_stat_owner(out, node->tree->directory ? S_IFDIR : S_IFREG, &attr);
    if (thing == NULL) {
        tfs_stat_times(out, tlog_store_mtime_ns(fs->store), tlog_store_mtime_ns(fs->store));
        return 0;
    }
    out->st_mtim = out->st_atim = thing->st.st_mtim;
    out->st_ctim = thing->st.st_ctim;
    if (!node->tree->directory) {
        out->st_size = thing->st.st_size;
        out->st_blocks = thing->st.st_blocks;
    }
    return 0;
}

static bool same_thing(const void *item, const void *found)
{
    const struct thing *have = item, *now = found;

    return have == now || (have->st.st_ino == now->st.st_ino && have->st.st_size == now->st.st_size &&
                           strcmp(have->path, now->path) == 0);
}

static void drop_thing(struct tfs *fs, void *item)
{
    (void)fs;
    free(item);
}

static int find_thing(struct tfs *fs, struct tfs_node *node, const char *name, pid_t caller, struct tfs_node **out)
{
    struct thing *thing;
    int result = look(fs, node, name, &thing);

    (void)caller;
    if (result != 0)
        return result;
    const struct tfs_tree *tree = S_ISDIR(thing->st.st_mode) ? &directory_tree : &file_tree;
    return tfs_node_find_in_tree(fs, node, tree, tfs_tree_ino(node, name), thing, out);
}

static int list_things(struct tfs *fs, struct tfs_node *node, struct tfs_listing *to)
{
    struct list list = {.fs = fs, .node = node, .to = to};
    int result = tlog_trash_list(fs->store, path_of(node), list_one, &list);

    if (result == -ENOENT && node->item == NULL)
        return 0; /* nothing was ever deleted */
    return result < 0 ? result : list.result;
}

/* ---- .trash ---- */

static int discard_item(struct tfs *fs, struct tfs_node *node, const char *name)
{
    (void)node;
    if (fs->read_only)
        return -EROFS;
    int result = tlog_store_discard(fs->store, name, NULL);
    if (result == 0)
        tfs_trash_left(&fs->trash, name);
    return result;
}

const struct tfs_tree tfs_trash_tree = {
    .directory = true,
    .refusal = EPERM,
    .entry_seconds = TFS_ENTRY_SECONDS,
    .attr_seconds = TFS_DIR_ATTR_SECONDS,
    .stat = stat_thing,
    .same = tfs_tree_same,
    .find = find_thing,
    .list = list_things,
    .rmdir = discard_item,
};

/* ---- below: items can go at any time ---- */

static int unlink_file(struct tfs *fs, struct tfs_node *node, const char *name)
{
    struct thing *thing;
    int result = look(fs, node, name, &thing);

    if (result != 0)
        return result;
    result = fs->read_only ? -EROFS : S_ISDIR(thing->st.st_mode) ? -EISDIR : make_unseen(&fs->trash, thing->path);
    free(thing);
    return result;
}

static int is_seen(void *arg, const char *name, const struct stat *st)
{
    struct list *list = arg;
    char *path = NULL;

    (void)st;
    if (asprintf(&path, "%s/%s", path_of(list->node), name) < 0)
        return -ENOMEM;
    bool seen = !is_unseen(&list->fs->trash, path);
    free(path);
    return seen;
}

static int remove_directory(struct tfs *fs, struct tfs_node *node, const char *name)
{
    struct thing *thing;
    int result = look(fs, node, name, &thing);

    if (result != 0)
        return result;
    const struct tfs_node inner = {.item = thing};
    struct list list = {.fs = fs, .node = &inner};
    result = fs->read_only                 ? -EROFS
             : !S_ISDIR(thing->st.st_mode) ? -ENOTDIR
                                           : tlog_trash_list(fs->store, thing->path, is_seen, &list);
    if (result == 0)
        result = make_unseen(&fs->trash, thing->path);
    free(thing);
    return result > 0 ? -ENOTEMPTY : result;
}

static const struct tfs_tree directory_tree = {
    .directory = true,
    .refusal = EPERM,
    .entry_seconds = 0.0,
    .attr_seconds = TFS_DIR_ATTR_SECONDS,
    .stat = stat_thing,
    .same = same_thing,
    .drop = drop_thing,
    .find = find_thing,
    .list = list_things,
    .unlink = unlink_file,
    .rmdir = remove_directory,
};

static int open_file(struct tfs *fs, struct tfs_node *node, void **file)
{
    struct tlog_segment_file *opened;
    int result = tlog_trash_open(fs->store, path_of(node), &opened);

    *file = opened;
    return result == -ENOENT ? -ESTALE : result;
}

static const struct tfs_tree file_tree = {
    .refusal = EPERM,
    .entry_seconds = 0.0,
    .attr_seconds = TFS_DIR_ATTR_SECONDS,
    .stat = stat_thing,
    .same = same_thing,
    .drop = drop_thing,
    .open = open_file,
    .close = tfs_tree_close_file,
    .read = tfs_tree_read_file,
};
