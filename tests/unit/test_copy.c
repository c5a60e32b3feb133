/* A store is copied file by file while it is written to, sealed and trimmed by its own threads; each copy holds all
 * that was synced before it was begun. The names are read before the copying, so that files vanish meanwhile, as they
 * do for rsync. */
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { WRITERS = 3, COPIES = 8, LINE = 100 };

struct producer {
    struct tlog_partition *partition;
    unsigned number;
    atomic_uint synced; /* lines */
    atomic_bool *stop;
    pthread_t thread;
};

static void *produce(void *arg)
{
    struct producer *producer = arg;
    for (unsigned i = 0; !atomic_load(producer->stop); i += 20) {
        unit_lines(producer->partition, i, 20, LINE);
        if (tlog_partition_sync_wait(producer->partition) < 0)
            return arg;
        atomic_store(&producer->synced, i + 20);
    }
    return NULL;
}

/* ---- copying ---- */

struct list {
    char (*names)[768];
    size_t count, room;
};

static void add(struct list *list, const char *name)
{
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 256;
        list->names = realloc(list->names, list->room * sizeof *list->names);
        assert_non_null(list->names);
    }
    snprintf(list->names[list->count++], sizeof *list->names, "%s", name);
}

static void walk(struct list *list, const char *root, const char *below)
{
    char path[768];
    snprintf(path, sizeof path, "%s%s", root, below);
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%.300s/%.200s", below, entry->d_name);
        if (entry->d_type == DT_DIR)
            walk(list, root, path);
        else if (entry->d_type == DT_REG)
            add(list, path);
    }
    closedir(dir);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void make_dirs(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)mkdir(path, 0700);
        *slash = '/';
    }
}

/* As a copying program does it: a new file, renamed. One that has vanished is none. */
static bool copy_file(const char *root, const char *to_root, const char *name)
{
    char from[768], to[768], temporary[800], data[65536];
    snprintf(from, sizeof from, "%s%s", root, name);
    snprintf(to, sizeof to, "%s%s", to_root, name);
    snprintf(temporary, sizeof temporary, "%s.copying", to);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return false;
    make_dirs(to);
    int out = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(out >= 0);
    for (ssize_t n; (n = read(in, data, sizeof data)) > 0;)
        assert_int_equal(write(out, data, (size_t)n), n);
    close(in);
    close(out);
    assert_int_equal(rename(temporary, to), 0);
    return true;
}

static unsigned copy_store(const char *root, const char *to)
{
    struct list list = {0};
    unsigned vanished = 0;
    walk(&list, root, "");
    assert_true(list.count > 0);
    if (list.names) /* the linter does not know what an assertion is */
        qsort(list.names, list.count, sizeof *list.names, by_name);
    for (size_t i = 0; i < list.count; i++)
        vanished += !copy_file(root, to, list.names[i]);
    free(list.names);
    return vanished;
}

/* ---- judging ---- */

/* The copy has all lines from its start on, `synced` of them at least. */
static void judge(struct tlog_store *store, unsigned number, unsigned synced, uint64_t *sealed, uint64_t *trimmed)
{
    struct tlog_topic *topic = tlog_topic_get(store, "t");
    assert_non_null(topic);
    struct tlog_partition *p = tlog_partition_get(topic, number);
    assert_non_null(p);
    struct tlog_bounds bounds;
    tlog_partition_bounds(p, &bounds);
    assert_false(bounds.damaged);
    if (bounds.end_seq < synced)
        fail_msg("partition %u: %" PRIu64 " lines of %u", number, bounds.end_seq, synced);
    char *text = unit_lines_text((unsigned)bounds.start_seq, (unsigned)(bounds.end_seq - bounds.start_seq), LINE);
    size_t bytes = (size_t)(bounds.end - bounds.start);
    char *found = malloc(bytes + 1);
    assert_int_equal(tlog_partition_read(p, bounds.start, found, bytes + 1), bytes);
    assert_memory_equal(found, text, bytes);
    free(found);
    free(text);
    *sealed += bounds.sealed_bytes;
    *trimmed += bounds.start;
    tlog_partition_unref(p);
    tlog_topic_unref(topic);
}

static void tell_damage(void *arg, const char *line)
{
    (void)arg;
    fail_msg("verify: %s", line);
}

static void remove_tree(const char *path)
{
    tlog_tree_remove(&tlog_io_posix, path);
}

static void test_copies_of_a_store_in_use(void **state)
{
    struct unit *u = *state;
    struct producer producers[WRITERS] = {0};
    atomic_bool stop = false;
    uint64_t sealed = 0, trimmed = 0;
    u->options.no_upkeep = false;
    unit_open(u);
    for (unsigned i = 0; i < WRITERS; i++)
        producers[i] = (struct producer){.partition = unit_partition(u, "t", i), .number = i, .stop = &stop};
    unit_config(u, "t", "segment.bytes=16KiB\nflush.ms=100ms\n");
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&producers[i].thread, NULL, produce, &producers[i]), 0);
    for (unsigned n = 0; n < COPIES; n++) {
        /* every other one over the one before it, as a backup in a loop does */
        char copy[128];
        unsigned synced[WRITERS];
        snprintf(copy, sizeof copy, "%s/copy-%u", u->base, n / 2);
        for (unsigned i = 0; i < WRITERS; i++)
            synced[i] = atomic_load(&producers[i].synced);
        (void)copy_store(u->path, copy);
        struct tlog_verify verified;
        struct tlog_error error = {0};
        assert_int_equal(tlog_verify(copy, NULL, tell_damage, NULL, NULL, &verified, &error), 0);
        assert_int_equal(verified.damages, 0);
        if (n % 2 == 0) /* looked at, and copied over again */
            continue;
        struct tlog_store *store;
        struct tlog_options options = {.no_upkeep = true};
        int r = tlog_store_open(&store, copy, &options, &error);
        if (r < 0)
            fail_msg("%s", error.text);
        for (unsigned i = 0; i < WRITERS; i++)
            judge(store, i, synced[i], &sealed, &trimmed);
        assert_int_equal(tlog_store_close(store, &error), 0);
        assert_int_equal(tlog_verify(copy, NULL, tell_damage, NULL, NULL, &verified, &error), 0);
        assert_int_equal(verified.unindexed_bytes + verified.torn_bytes, 0);
        remove_tree(copy);
        /* between two backups the heads go */
        for (unsigned i = 0; i < WRITERS; i++)
            assert_int_equal(tlog_partition_trim(producers[i].partition, (uint64_t)synced[i] * LINE / 2, NULL), 0);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        void *failed;
        pthread_join(producers[i].thread, &failed);
        assert_null(failed);
    }
    assert_true(sealed > 0 && trimmed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_REAL(test_copies_of_a_store_in_use),
    };
    return cmocka_run_group_tests_name("copy", tests, NULL, NULL);
}
