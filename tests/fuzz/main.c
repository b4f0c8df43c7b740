// SPDX-License-Identifier: BSD-2-Clause
/*
 * Runs a fuzz target over files, or all files of directories: the seeds are an
 * ordinary test, with any compiler.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned count;

static void run_file(const char *path)
{
	FILE *file = fopen(path, "re");
	struct stat st;
	uint8_t *data;

	/* stderr has no buffer: a crash leaves the name of its input. */
	fprintf(stderr, "%s\n", path);
	assert(file && fstat(fileno(file), &st) == 0);
	/* As long as the file, so that a read behind it is seen. */
	data = malloc((size_t)st.st_size);
	assert(data || st.st_size == 0);
	assert(fread(data, 1, (size_t)st.st_size, file) == (size_t)st.st_size);
	fclose(file);
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	free(data);
	count++;
}

static void run_directory(const char *path)
{
	struct dirent **entries;
	int n = scandir(path, &entries, NULL, alphasort);
	char file[4096];

	assert(n >= 0);
	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.')
			run_file(file);
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	struct stat st;

	for (int i = 1; i < argc; i++) {
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			run_directory(argv[i]);
		else
			run_file(argv[i]);
	}
	printf("%u inputs\n", count);
	return count ? 0 : 1;
}
