/* What is written to a .config: checked at once, in effect at the flush, as one. The log library is played by the
 * test: a line is good when it begins with "good" or "#". */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "daemon.h"
#include "log.h"
#include "status.h"
#include "virtual.h"

static struct {
    char text[65536];
    bool replace;
    int calls, result;
} applied;

int tlog_config_check(const char *text, struct tlog_error *error)
{
    while (*text != '\0') {
        if (strncmp(text, "good", 4) != 0 && *text != '#' && *text != '\n') {
            snprintf(error->text, sizeof error->text, "unknown key");
            return -EINVAL;
        }
        text += strcspn(text, "\n");
        text += *text == '\n';
    }
    return 0;
}

int tlog_store_config_text(struct tlog_store *store, char **out)
{
    (void)store;
    *out = strdup("good=before\n");
    return 0;
}

int tlog_topic_config_text(struct tlog_topic *topic, char **out)
{
    (void)topic;
    return tlog_store_config_text(NULL, out);
}

int tlog_store_config_set(struct tlog_store *store, const char *text, bool replace, struct tlog_error *error)
{
    (void)store, (void)error;
    applied.calls++;
    snprintf(applied.text, sizeof applied.text, "%s", text);
    applied.replace = replace;
    return applied.result;
}

int tlog_topic_config_set(struct tlog_topic *topic, const char *text, bool replace, struct tlog_error *error)
{
    (void)topic;
    return tlog_store_config_set(NULL, text, replace, error);
}

void tfs_say(int priority, const char *format, ...)
{
    (void)priority, (void)format;
}

void tfs_status_store(struct tfs *fs, FILE *to)
{
    (void)fs;
    fputs("status\n", to);
}

void tfs_status_topic(struct tlog_topic *topic, FILE *to)
{
    (void)topic, (void)to;
}

void tfs_offsets_topic(struct tlog_topic *topic, FILE *to)
{
    (void)topic, (void)to;
}

static struct tfs fs;
static struct tfs_node node = {.kind = TFS_VIRTUAL, .virtual = TFS_CONFIG};

static struct tfs_text *open_text(int flags)
{
    struct tfs_text *text;

    memset(&applied, 0, sizeof applied);
    assert_int_equal(tfs_text_open(&fs, &node, flags, &text), 0);
    assert_string_equal(text->shown, "good=before\n");
    return text;
}

static ssize_t put(struct tfs_text *text, const char *data, uint64_t offset, int flags)
{
    return tfs_text_write(text, data, strlen(data), offset, flags);
}

static void appended_keys_are_set_at_the_flush(void **state)
{
    struct tfs_text *text = open_text(O_WRONLY | O_APPEND);

    (void)state;
    assert_int_equal(put(text, "good=1\n", 12, O_APPEND), 7);
    assert_int_equal(put(text, "good=2", 19, O_APPEND), 6);
    assert_int_equal(applied.calls, 0);
    assert_int_equal(tfs_text_flush(&fs, &node, text), 0);
    assert_string_equal(applied.text, "good=1\ngood=2");
    assert_false(applied.replace);
    /* Each flush brings what came since the one before. */
    assert_int_equal(put(text, "\ngood=3\n", 0, O_APPEND), 8);
    assert_int_equal(tfs_text_flush(&fs, &node, text), 0);
    assert_string_equal(applied.text, "\ngood=3\n");
    assert_int_equal(tfs_text_flush(&fs, &node, text), 0);
    assert_int_equal(applied.calls, 2);
    tfs_text_free(text);
}

static void truncating_replaces_but_only_with_something(void **state)
{
    struct tfs_text *text = open_text(O_WRONLY | O_TRUNC);

    (void)state;
    assert_int_equal(tfs_text_flush(&fs, &node, text), 0);
    assert_int_equal(applied.calls, 0);
    assert_int_equal(put(text, "good=1\n", 0, 0), 7);
    assert_int_equal(tfs_text_flush(&fs, &node, text), 0);
    assert_true(applied.replace);
    /* The whole once more: what one open file writes is one text. */
    assert_int_equal(put(text, "good=2\n", 7, 0), 7);
    assert_int_equal(tfs_text_flush(&fs, &node, text), 0);
    assert_true(applied.replace);
    assert_string_equal(applied.text, "good=1\ngood=2\n");
    tfs_text_free(text);
}

static void writing_from_the_start_replaces_and_at_the_end_sets(void **state)
{
    struct tfs_text *text = open_text(O_WRONLY);

    (void)state;
    assert_int_equal(put(text, "good=1\n", 0, 0), 7);
    assert_int_equal(tfs_text_flush(&fs, &node, text), 0);
    assert_true(applied.replace);
    tfs_text_free(text);

    text = open_text(O_WRONLY);
    assert_int_equal(put(text, "good=1\n", 12, 0), 7);
    assert_int_equal(tfs_text_flush(&fs, &node, text), 0);
    assert_false(applied.replace);
    tfs_text_free(text);
}

static void elsewhere_is_refused(void **state)
{
    struct tfs_text *text = open_text(O_WRONLY);

    (void)state;
    assert_int_equal(put(text, "good=1\n", 5, 0), -EPERM);
    assert_int_equal(put(text, "good=1\n", 0, 0), 7);
    assert_int_equal(put(text, "good=2\n", 8, 0), -EPERM);
    assert_int_equal(put(text, "good=2\n", 0, 0), -EPERM);
    assert_int_equal(put(text, "good=2\n", 7, 0), 7);
    tfs_text_free(text);
}

static void a_bad_line_changes_nothing(void **state)
{
    struct tfs_text *text = open_text(O_WRONLY | O_APPEND);

    (void)state;
    assert_int_equal(put(text, "good=1\n", 0, O_APPEND), 7);
    assert_int_equal(put(text, "bad=1\n", 0, O_APPEND), -EINVAL);
    assert_int_equal(put(text, "good=2\n", 0, O_APPEND), -EINVAL);
    assert_int_equal(tfs_text_flush(&fs, &node, text), 0);
    assert_int_equal(applied.calls, 0);
    /* Another try through the same open file. */
    assert_int_equal(put(text, "good=3\n", 0, O_APPEND), 7);
    assert_int_equal(tfs_text_flush(&fs, &node, text), 0);
    assert_string_equal(applied.text, "good=3\n");
    tfs_text_free(text);
}

static void a_line_joined_from_two_writes_must_be_good(void **state)
{
    struct tfs_text *text = open_text(O_WRONLY | O_APPEND);

    (void)state;
    assert_int_equal(put(text, "good", 0, O_APPEND), 4);
    assert_int_equal(put(text, "=1\n", 0, O_APPEND), 3);
    assert_int_equal(put(text, "ba", 0, O_APPEND), -EINVAL); /* complete, as far as can be known */
    tfs_text_free(text);
}

static void a_piece_of_something_longer_may_end_anywhere(void **state)
{
    struct tfs_text *text = open_text(O_WRONLY | O_TRUNC);
    char piece[4096 + 1];

    (void)state;
    memset(piece, '#', 4096);
    memcpy(piece + 4090, "\nbad-b", 6); /* not to be judged before its end */
    piece[4096] = '\0';
    assert_int_equal(put(text, piece, 0, 0), 4096);
    assert_int_equal(put(text, "y=1\n", 4096, 0), -EINVAL);
    assert_int_equal(tfs_text_flush(&fs, &node, text), 0);
    assert_int_equal(applied.calls, 0);
    tfs_text_free(text);
}

static void a_nul_is_no_text(void **state)
{
    struct tfs_text *text = open_text(O_WRONLY | O_APPEND);

    (void)state;
    assert_int_equal(tfs_text_write(text, "good\0bad\n", 9, 0, O_APPEND), -EINVAL);
    tfs_text_free(text);
}

static void a_failure_to_store_is_told_by_the_flush(void **state)
{
    struct tfs_text *text = open_text(O_WRONLY | O_APPEND);

    (void)state;
    applied.result = -ENOSPC;
    assert_int_equal(put(text, "good=1\n", 0, O_APPEND), 7);
    assert_int_equal(tfs_text_flush(&fs, &node, text), -ENOSPC);
    applied.result = 0;
    assert_int_equal(tfs_text_flush(&fs, &node, text), 0);
    assert_string_equal(applied.text, "good=1\n");
    tfs_text_free(text);
}

static void hidden_names_and_modes(void **state)
{
    enum tfs_virtual which;

    (void)state;
    assert_true(tfs_virtual_named(".config", TFS_ROOT, &which));
    assert_true(tfs_virtual_named(".offsets", TFS_TOPIC, &which));
    assert_false(tfs_virtual_named(".offsets", TFS_ROOT, &which));
    assert_false(tfs_virtual_named(".segments", TFS_TOPIC, &which));
    assert_int_equal(tfs_virtual_mode(TFS_CONFIG, 0755), 0644);
    assert_int_equal(tfs_virtual_mode(TFS_CONFIG, 0770), 0660);
    assert_int_equal(tfs_virtual_mode(TFS_STATUS, 0775), 0444);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appended_keys_are_set_at_the_flush),
        cmocka_unit_test(truncating_replaces_but_only_with_something),
        cmocka_unit_test(writing_from_the_start_replaces_and_at_the_end_sets),
        cmocka_unit_test(elsewhere_is_refused),
        cmocka_unit_test(a_bad_line_changes_nothing),
        cmocka_unit_test(a_line_joined_from_two_writes_must_be_good),
        cmocka_unit_test(a_piece_of_something_longer_may_end_anywhere),
        cmocka_unit_test(a_nul_is_no_text),
        cmocka_unit_test(a_failure_to_store_is_told_by_the_flush),
        cmocka_unit_test(hidden_names_and_modes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
