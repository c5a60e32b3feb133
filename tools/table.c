#include "tools/table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void table_cell(struct table *table, const char *format, ...)
{
    va_list arguments;
    char *text;

    if (table->count == table->room) {
        size_t room = table->room ? 2 * table->room : 64;
        char **bigger = realloc(table->cells, room * sizeof(*bigger));
        if (!bigger)
            return;
        table->cells = bigger;
        table->room = room;
    }
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) >= 0)
        table->cells[table->count++] = text;
    va_end(arguments);
}

static void print_row(const struct table *table, const char *const *row, const int *widths)
{
    for (size_t column = 0; column < table->columns; column++) {
        const char *text = row[column] + (row == table->heads && row[column][0] == '>');
        const char *gap = column > 0 ? "  " : "";
        if (table->heads[column][0] == '>')
            printf("%s%*s", gap, widths[column], text);
        else if (column + 1 < table->columns)
            printf("%s%-*s", gap, widths[column], text);
        else
            printf("%s%s", gap, text);
    }
    putchar('\n');
}

int table_print(struct table *table)
{
    int *widths = calloc(table->columns, sizeof(*widths));
    int result = widths && table->count % table->columns == 0 ? 0 : -ENOMEM;

    for (size_t i = 0; result == 0 && i < table->columns + table->count; i++) {
        const char *head = table->heads[i % table->columns];
        int width =
            (int)(i < table->columns ? strlen(head) - (head[0] == '>') : strlen(table->cells[i - table->columns]));
        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
    if (result == 0) {
        print_row(table, table->heads, widths);
        for (size_t i = 0; i < table->count; i += table->columns)
            print_row(table, (const char *const *)(table->cells + i), widths);
    }
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    free(widths);
    return result;
}
