/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attacks on memory: what was handed out is written by every call there is,
 * and searched for what it must not hold.
 */
#include "attacks.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/falloc.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* ------------------------------------------------------------------ writing */

#define MARK "written by attack"

/* A descriptor that was handed out, and its mapping. */
struct target {
	const char *name;
	int fd;
	uint8_t *map;
	size_t size;
};

/* Each tries to get MARK to @offset. What it returns counts for nothing. */
static void by_mapping_it_writable(struct target *target, size_t offset)
{
	void *map = mmap(NULL, target->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 target->fd, 0);

	if (map != MAP_FAILED)
		memcpy((uint8_t *)map + offset, MARK, sizeof(MARK));
}

static void by_mprotect(struct target *target, size_t offset)
{
	if (mprotect(target->map, target->size, PROT_READ | PROT_WRITE) == 0)
		memcpy(target->map + offset, MARK, sizeof(MARK));
}

static void by_mprotect_of_a_new_mapping(struct target *target, size_t offset)
{
	void *map = mmap(NULL, target->size, PROT_READ, MAP_SHARED_VALIDATE,
			 target->fd, 0);

	if (map != MAP_FAILED &&
	    mprotect(map, target->size, PROT_READ | PROT_WRITE | PROT_EXEC) ==
		    0)
		memcpy((uint8_t *)map + offset, MARK, sizeof(MARK));
}

static void by_private_mapping(struct target *target, size_t offset)
{
	void *map = mmap(NULL, target->size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE, target->fd, 0);

	/* Allowed: it is a copy. */
	if (map != MAP_FAILED) {
		memcpy((uint8_t *)map + offset, MARK, sizeof(MARK));
		msync(map, target->size, MS_SYNC);
		munmap(map, target->size);
	}
}

static void write_all_ways(int fd, size_t offset)
{
	struct iovec iov = { (void *)(uintptr_t)MARK, sizeof(MARK) };
	off_t at = (off_t)offset, from = 0;
	int file = memfd_create("mark", MFD_CLOEXEC);

	(void)!pwrite(fd, MARK, sizeof(MARK), at);
	lseek(fd, at, SEEK_SET);
	(void)!write(fd, MARK, sizeof(MARK));
	(void)!pwritev2(fd, &iov, 1, at, RWF_HIPRI);
	(void)!write(file, MARK, sizeof(MARK));
	(void)!sendfile(fd, file, &from, sizeof(MARK));
	from = 0;
	at = (off_t)offset;
	(void)!copy_file_range(file, &from, fd, &at, sizeof(MARK), 0);
	close(file);
}

static void by_writing(struct target *target, size_t offset)
{
	write_all_ways(target->fd, offset);
}

static void by_splice(struct target *target, size_t offset)
{
	loff_t at = (loff_t)offset;
	int pipes[2];

	if (pipe(pipes))
		return;
	(void)!write(pipes[1], MARK, sizeof(MARK));
	(void)!splice(pipes[0], NULL, target->fd, &at, sizeof(MARK),
		      SPLICE_F_MOVE);
	close(pipes[0]);
	close(pipes[1]);
}

static void reopen(struct target *target, size_t offset, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", target->fd);
	fd = open(path, flags);
	if (fd < 0)
		return;
	by_mapping_it_writable(&(struct target){ target->name, fd, NULL,
						 target->size },
			       offset);
	write_all_ways(fd, offset);
	close(fd);
}

static void by_reopening(struct target *target, size_t offset)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", target->fd);
	chmod(path, 0666);
	fchmod(target->fd, 0666);
	fchown(target->fd, getuid(), getgid());
	reopen(target, offset, O_RDWR);
	reopen(target, offset, O_WRONLY);
	reopen(target, offset, O_RDWR | O_TRUNC);
	reopen(target, offset, O_RDONLY);
}

static void by_map_files(struct target *target, size_t offset)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx",
		 (unsigned long)target->map,
		 (unsigned long)target->map + target->size);
	fd = open(path, O_RDWR);
	if (fd >= 0)
		write_all_ways(fd, offset);
}

static void by_proc_mem(struct target *target, size_t offset)
{
	int fd = open("/proc/self/mem", O_RDWR);

	(void)!pwrite(fd, MARK, sizeof(MARK),
		      (off_t)(uintptr_t)(target->map + offset));
	close(fd);
}

static void by_process_vm_writev(struct target *target, size_t offset)
{
	struct iovec local = { (void *)(uintptr_t)MARK, sizeof(MARK) };
	struct iovec remote = { target->map + offset, sizeof(MARK) };

	(void)!process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
}

/* The kernel writes for us: into the mapping, from a file. */
static void by_read(struct target *target, size_t offset)
{
	int pipes[2];

	if (pipe(pipes))
		return;
	(void)!write(pipes[1], MARK, sizeof(MARK));
	(void)!read(pipes[0], target->map + offset, sizeof(MARK));
	close(pipes[0]);
	close(pipes[1]);
}

static void by_ptrace_of_a_child(struct target *target, size_t offset)
{
	static const char mark[] = MARK;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	for (size_t i = 0; i + sizeof(long) <= sizeof(mark);
	     i += sizeof(long)) {
		long word;

		memcpy(&word, mark + i, sizeof(word));
		ptrace(PTRACE_POKEDATA, pid, target->map + offset + i, word);
	}
	ptrace(PTRACE_CONT, pid, NULL, NULL);
	waitpid(pid, &status, 0);
}

static void by_madvise(struct target *target, size_t offset)
{
	uint8_t *at = target->map + (offset & ~(size_t)(NR_PAGE - 1));

	madvise(at, NR_PAGE, MADV_REMOVE);
	madvise(at, NR_PAGE, MADV_FREE);
	madvise(at, NR_PAGE, MADV_DONTNEED);
	madvise(at, NR_PAGE, MADV_POPULATE_WRITE);
	madvise(at, NR_PAGE, MADV_HWPOISON);
	madvise(target->map, target->size, MADV_REMOVE);
}

static void by_hole(struct target *target, size_t offset)
{
	static const int modes[] = {
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_COLLAPSE_RANGE,
		FALLOC_FL_INSERT_RANGE,
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		fallocate(target->fd, modes[i], 0, (off_t)target->size);
		fallocate(target->fd, modes[i],
			  (off_t)(offset & ~(size_t)(NR_PAGE - 1)), NR_PAGE);
	}
}

static void by_truncating(struct target *target, size_t offset)
{
	(void)!ftruncate(target->fd, (off_t)offset);
	(void)!ftruncate(target->fd, 0);
	(void)!ftruncate(target->fd, (off_t)target->size * 2);
}

static void by_seals(struct target *target, size_t offset)
{
	/* More of them would be as bad: the broker could not write. */
	fcntl(target->fd, F_ADD_SEALS, F_SEAL_WRITE);
	fcntl(target->fd, F_ADD_SEALS, 0);
	fcntl(target->fd, F_SETFL, O_RDWR);
	fcntl(target->fd, F_SETLEASE, F_WRLCK);
	by_mapping_it_writable(target, offset);
}

static void by_userfaultfd(struct target *target, size_t offset)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)target->map & ~(uintptr_t)(NR_PAGE - 1),
			   target->size },
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	(void)offset;
	if (fd < 0)
		return;
	ioctl(fd, UFFDIO_API, &api);
	ioctl(fd, UFFDIO_REGISTER, &reg);
	close(fd);
}

static const struct {
	const char *name;
	void (*write)(struct target *target, size_t offset);
} ways[] = {
	{ "a writable mapping", by_mapping_it_writable },
	{ "mprotect", by_mprotect },
	{ "mprotect of a new mapping", by_mprotect_of_a_new_mapping },
	{ "a private mapping", by_private_mapping },
	{ "write and its kind", by_writing },
	{ "splice", by_splice },
	{ "a second description", by_reopening },
	{ "map_files", by_map_files },
	{ "/proc/self/mem", by_proc_mem },
	{ "process_vm_writev", by_process_vm_writev },
	{ "read", by_read },
	{ "ptrace", by_ptrace_of_a_child },
	{ "madvise", by_madvise },
	{ "fallocate", by_hole },
	{ "ftruncate", by_truncating },
	{ "seals", by_seals },
	{ "userfaultfd", by_userfaultfd },
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* Through a mapping of its own: the attacked one may be ruined. */
static bool has_mark(const struct target *target)
{
	uint8_t *map =
		mmap(NULL, target->size, PROT_READ, MAP_SHARED, target->fd, 0);
	bool found = memmem(map, target->size, MARK, sizeof(MARK)) != NULL;

	munmap(map, target->size);
	return found;
}

/* Size, allocation and the header's constant part are what they were. */
static bool is_whole(const struct target *target, const struct stat *before,
		     const void *header)
{
	struct stat now;
	void *map =
		mmap(NULL, target->size, PROT_READ, MAP_SHARED, target->fd, 0);
	bool same = memcmp(map, header, 64) == 0;

	munmap(map, target->size);
	return fstat(target->fd, &now) == 0 && same &&
	       now.st_size == before->st_size &&
	       now.st_blocks == before->st_blocks &&
	       now.st_mode == before->st_mode && now.st_uid == before->st_uid;
}

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define HUGE ((size_t)2 << 20)

/* How much of the mapping at @map the kernel has in huge pages, in kB. */
static unsigned long huge_kb(const void *map)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	char line[512], range[32];
	unsigned long kb = 0, size = 0, n;
	bool is_it = false;

	snprintf(range, sizeof(range), "%lx-", (unsigned long)map);
	while (fgets(line, sizeof(line), file)) {
		if (strcspn(line, "-") < strcspn(line, ":"))
			is_it = strncmp(line, range, strlen(range)) == 0;
		if (!is_it)
			continue;
		if (sscanf(line, "Size: %lu", &n) == 1)
			size = n;
		if (sscanf(line, "KernelPageSize: %lu", &n) == 1 && n >= 2048)
			kb = size; /* of hugetlbfs */
		if (sscanf(line, "ShmemPmdMapped: %lu", &n) == 1 && n)
			kb = n;
	}
	fclose(file);
	return kb;
}

/* Pages that are huge cannot be collapsed under the lane that writes them. */
static bool is_huge(int fd, size_t size)
{
	uint8_t *space = mmap(NULL, size + HUGE, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *map = (uint8_t *)(((uintptr_t)space + HUGE - 1) &
				   ~(uintptr_t)(HUGE - 1));
	unsigned long kb;

	map = mmap(map, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	for (size_t at = 0; at < size; at += NR_PAGE)
		(void)*(volatile uint8_t *)(map + at);
	kb = huge_kb(map);
	munmap(space, size + HUGE);
	return kb == size / 1024;
}

/* One of the ways, or until time is up: all of them, in turn. */
static int attack_target(struct target *target, struct play *play)
{
	uint8_t header[64];
	struct stat stat;

	must(fstat(target->fd, &stat) == 0);
	must((size_t)stat.st_size >= target->size);
	must((stat.st_mode & 0777) == 0400);
	must(stat.st_uid != getuid());
	must((fcntl(target->fd, F_GET_SEALS) & SEALS) == SEALS);
	must(is_huge(target->fd, (size_t)stat.st_size));
	memcpy(header, target->map, sizeof(header));
	for (size_t n = 0; n < WAYS && (!play->ms || n == 0 || goes_on(play));
	     n++) {
		size_t i = (play->seed + n) % WAYS;
		const size_t offsets[] = { 0, NR_PAGE, target->size / 2,
					   target->size - NR_PAGE };

		for (size_t o = 0; o < 4; o++)
			ways[i].write(target, offsets[o]);
		if (has_mark(target) || !is_whole(target, &stat, header)) {
			fprintf(stderr, "%s: changed by %s\n", target->name,
				ways[i].name);
			return 1;
		}
	}
	return 0;
}

int write_everywhere(struct play *play)
{
	struct nr_capture *capture;
	struct lane *lane;
	struct target arena, ring, frames;

	must_attach(capture, play);
	lane = &capture->lanes[0];
	arena = (struct target){ "arena", lane->arena_fd,
				 (uint8_t *)(uintptr_t)lane->arena,
				 lane->arena_size };
	ring = (struct target){ "ring", lane->ring_fd, lane->ring_map,
				lane->ring_map_size };
	ring.map = mmap(NULL, ring.size, PROT_READ, MAP_SHARED, ring.fd, 0);
	must(ring.map != MAP_FAILED);
	if (lane->region_fd < 0)
		return attack_target(&arena, play) ||
		       attack_target(&ring, play);
	frames = (struct target){ "frames", lane->region_fd,
				  (uint8_t *)(uintptr_t)lane->region,
				  lane->region_size };
	return attack_target(&arena, play) || attack_target(&ring, play) ||
	       attack_target(&frames, play);
}

int write_by_path(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat before, after;

	must(fd >= 0);
	must(lstat(path, &before) == 0 && !(before.st_mode & 0200));
	must(fstat(fd, &before) == 0);
	must(mmap(NULL, HUGE, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	write_all_ways(fd, 0);
	must(ftruncate(fd, 0) < 0);
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		       NR_PAGE) < 0);
	must(!has_mark(&(struct target){ "frames", fd, NULL, HUGE }));
	must(fstat(fd, &after) == 0 && before.st_size == after.st_size &&
	     before.st_blocks == after.st_blocks);
	close(fd);
	return 0;
}

static int store_into(void *at)
{
	*(volatile uint8_t *)at = 1;
	return 0;
}

static int dies_of_storing(const void *at)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		_exit(store_into((void *)(uintptr_t)at));
	}
	must(pid > 0 && waitpid(pid, &status, 0) == pid);
	must(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	return 0;
}

int store_plainly(struct play *play)
{
	struct nr_capture *capture;

	must_attach(capture, play);
	return dies_of_storing(capture->lanes[0].arena) ||
	       dies_of_storing(capture->lanes[0].region) ||
	       dies_of_storing(&capture->lanes[0].ring->head);
}

/* ---------------------------------------------------------- the return page */

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

int abuse_return_page(struct play *play)
{
	struct nr_capture *capture;
	union bpf_attr attr;
	uint8_t value[NR_PAGE] = { 0 };
	uint32_t key = 0, next;
	struct stat stat;
	int fd;

	must_attach(capture, play);
	fd = capture->return_fd;
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		       NR_PAGE) < 0);
	must(ftruncate(fd, 0) < 0);
	must(madvise(capture->return_map, NR_PAGE, MADV_REMOVE) < 0);
	must(fstat(fd, &stat) == 0 && !S_ISREG(stat.st_mode));
	/* Without our mapping only the engine's keeps it from being frozen. */
	munmap(capture->return_map, NR_PAGE);
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	must(bpf(BPF_MAP_FREEZE, &attr) < 0 && errno == EBUSY);
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)value;
	bpf(BPF_MAP_UPDATE_ELEM, &attr);
	bpf(BPF_MAP_DELETE_ELEM, &attr);
	/* Other maps are not to be had by their numbers. */
	for (uint32_t id = 0; id < 10000; id++) {
		memset(&attr, 0, sizeof(attr));
		attr.map_id = id;
		must(bpf(BPF_MAP_GET_FD_BY_ID, &attr) < 0);
	}
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	attr.key = (uintptr_t)&key;
	attr.next_key = (uintptr_t)&next;
	bpf(BPF_MAP_GET_NEXT_KEY, &attr);
	must(mmap(NULL, NR_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) !=
	     MAP_FAILED);
	must(mmap(NULL, NR_PAGE * 2, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		  0) == MAP_FAILED);
	return 0;
}

int attach_and_read(struct play *play)
{
	struct nr_capture *capture;
	struct nr_batch batch;

	must_attach(capture, play);
	for (int i = 0; i < 10; i++) {
		must(nr_capture_recv(capture, &batch, 5000) == 1);
		nr_batch_release(&batch);
	}
	nr_capture_close(capture);
	return 0;
}

/* ----------------------------------------------------------------- scanning */

/*
 * Whether the mark is anywhere in the shared memory that came with the attach:
 * memfds and BPF maps (the test's own shared memory is neither).
 */
static bool scan(size_t *bytes)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512], rights[8];
	unsigned long from, to;
	bool found = false;

	*bytes = 0;
	while (fgets(line, sizeof(line), file)) {
		if (!strstr(line, "memfd:") && !strstr(line, "bpf"))
			continue;
		if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3 ||
		    rights[0] != 'r')
			continue;
		*bytes += to - from;
		found = found || memmem((const void *)from, to - from,
					SCENE_MARK, sizeof(SCENE_MARK) - 1);
	}
	fclose(file);
	return found;
}

static int scan_while_traffic_flows(struct play *play, bool may_find)
{
	struct nr_capture *capture;
	bool found = false;
	size_t bytes;

	must_attach(capture, play);
	do {
		found = scan(&bytes) || found;
		must(bytes >= capture->lanes[0].arena_size);
		must(may_find || !found);
	} while (goes_on(play));
	must(!may_find || found);
	return 0;
}

int scan_finds_nothing(struct play *play)
{
	return scan_while_traffic_flows(play, false);
}

int scan_finds_packets(struct play *play)
{
	return scan_while_traffic_flows(play, true);
}

int open_closed_channel(struct play *play)
{
	struct nr_capture *capture;

	(void)play;
	must(nr_capture_open("closed", NULL, &capture) == -EACCES);
	return 0;
}
