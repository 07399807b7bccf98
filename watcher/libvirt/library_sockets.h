#ifndef VMEVENTD_WATCHER_LIBVIRT_LIBRARY_SOCKETS_H_
#define VMEVENTD_WATCHER_LIBVIRT_LIBRARY_SOCKETS_H_

namespace vmeventd {

// While one of these lives, the Unix sockets that its thread makes, in whatever library, refuse
// passed descriptors (RefusePassedDescriptors): libvirt's library makes its own, and reads them on
// a thread that would wait for as long as a peer lets the close of such a descriptor take.
// Linux 6.16 and later.
class LibrarySocketsRefuseDescriptors {
 public:
  LibrarySocketsRefuseDescriptors();
  ~LibrarySocketsRefuseDescriptors();
  LibrarySocketsRefuseDescriptors(const LibrarySocketsRefuseDescriptors&) = delete;
  LibrarySocketsRefuseDescriptors& operator=(const LibrarySocketsRefuseDescriptors&) = delete;
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_LIBVIRT_LIBRARY_SOCKETS_H_
