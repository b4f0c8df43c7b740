// SPDX-License-Identifier: BSD-2-Clause
/*
 * Memory for consumers: a memfd that is fully allocated, made of huge pages,
 * sealed against every change but ours, and handed out as a description that
 * was opened read-only.
 */
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COLLAPSE_TRIES 50

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static int proc_fd = -1;
static int meminfo_fd = -1;

int region_init(void)
{
	if (proc_fd >= 0)
		return 0;
	meminfo_fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return proc_fd < 0 ? -errno : 0;
}

/* A mapping of @fd at an address where huge pages fit. */
static void *map_aligned(int fd, size_t size, int prot)
{
	uint8_t *space, *base;
	size_t head;

	space = mmap(NULL, size + REGION_ALIGN, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (space == MAP_FAILED)
		return MAP_FAILED;
	head = -(uintptr_t)space & (REGION_ALIGN - 1);
	base = mmap(space + head, size, prot, MAP_SHARED | MAP_FIXED, fd, 0);
	if (base == MAP_FAILED) {
		munmap(space, size + REGION_ALIGN);
		return MAP_FAILED;
	}
	if (head)
		munmap(space, head);
	munmap(base + size, REGION_ALIGN - head);
	return base;
}

uint64_t region_memory_available(void)
{
	static const char key[] = "MemAvailable:";
	char text[512] = ""; /* it is the third line */
	const char *at;

	/* As of now: each reading from its start makes it anew. */
	if (pread(meminfo_fd, text, sizeof(text) - 1, 0) < 0)
		return UINT64_MAX;
	at = strstr(text, key);
	return at ? strtoull(at + sizeof(key) - 1, NULL, 10) << 10 : UINT64_MAX;
}

/* Allocates every page of @fd, so that no later write can fail or wait. */
static int allocate(int fd, size_t size)
{
	if (ftruncate(fd, (off_t)size) || fallocate(fd, 0, 0, (off_t)size))
		return -errno;
	return 0;
}

static int fill_hugetlb(struct region *region, const char *name, int *fd)
{
	*fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB |
					 MFD_HUGE_2MB);
	if (*fd < 0)
		return -errno;
	if (allocate(*fd, region->size))
		goto fail;
	region->base = map_aligned(*fd, region->size, PROT_READ | PROT_WRITE);
	if (region->base == MAP_FAILED)
		goto fail;
	region->is_hugetlb = true;
	return 0;
fail:
	close(*fd);
	*fd = -1;
	return -ENOMEM;
}

/*
 * Makes huge pages of all of it. EAGAIN: a page was just on its way from one of
 * the kernel's lists to another, and will have arrived.
 */
static bool collapse(const struct region *region)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (int i = 0; i < COLLAPSE_TRIES; i++) {
		if (madvise(region->base, region->size, MADV_COLLAPSE) == 0)
			return true;
		if (errno != EAGAIN)
			return false;
		nanosleep(&pause, NULL);
	}
	return false;
}

static int fill_shmem(struct region *region, const char *name, bool small_pages,
		      int *fd)
{
	int err;

	if (region->size > region_memory_available())
		return -ENOMEM;
	*fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return -errno;
	err = allocate(*fd, region->size);
	if (err)
		goto fail;
	region->base = map_aligned(*fd, region->size, PROT_READ | PROT_WRITE);
	if (region->base == MAP_FAILED) {
		err = -errno;
		goto fail;
	}
	if (madvise(region->base, region->size, MADV_POPULATE_WRITE) &&
	    errno != EINVAL) {
		err = -errno;
		goto unmap;
	}
	if (!collapse(region) && !small_pages) {
		err = REGION_NO_HUGE_PAGES;
		goto unmap;
	}
	return 0;
unmap:
	munmap(region->base, region->size);
fail:
	close(*fd);
	*fd = -1;
	return err;
}

/* Seals @fd and gives the description to hand out: read-only, by any path. */
static int seal(int fd)
{
	char name[16];
	int readonly;

	if (fchmod(fd, 0400) ||
	    fcntl(fd, F_ADD_SEALS,
		  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE |
			  F_SEAL_SEAL))
		return -errno;
	snprintf(name, sizeof(name), "%d", fd);
	readonly = openat(proc_fd, name, O_RDONLY | O_CLOEXEC);
	return readonly < 0 ? -errno : readonly;
}

int region_new(struct region *region, const char *name, size_t size,
	       bool small_pages)
{
	int fd, err;

	*region = (struct region){ .fd = -1, .size = size };
	err = fill_hugetlb(region, name, &fd);
	if (err)
		err = fill_shmem(region, name, small_pages, &fd);
	if (err)
		return err;
	region->fd = seal(fd);
	close(fd);
	if (region->fd < 0) {
		err = region->fd;
		munmap(region->base, region->size);
		return err;
	}
	return REGION_OK;
}

void region_free(struct region *region)
{
	if (!region->base)
		return;
	munmap(region->base, region->size);
	close(region->fd);
	*region = (struct region){ .fd = -1 };
}

bool region_is_ours_alone(int fd)
{
	/* The kernel gives this lease to the only one who has the file. */
	if (fcntl(fd, F_SETLEASE, F_WRLCK))
		return false;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return true;
}

int region_let_go(struct region *region)
{
	char name[16];
	int fd;

	if (!region->base)
		return -EBADF;
	snprintf(name, sizeof(name), "%d", region->fd);
	fd = openat(proc_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0) { /* then it is the one that was lent */
		munmap(region->base, region->size);
		fd = region->fd;
		*region = (struct region){ .fd = -1 };
		return fd;
	}
	region_free(region);
	if (!region_is_ours_alone(fd))
		return fd;
	close(fd);
	return -ENOENT;
}

const void *region_map(int fd, size_t size)
{
	void *base = map_aligned(fd, size, PROT_READ);

	if (base == MAP_FAILED)
		return NULL;
	(void)madvise(base, size, MADV_POPULATE_READ);
	return base;
}
