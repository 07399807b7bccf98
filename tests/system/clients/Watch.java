import com.vmeventd.v1.Event;
import com.vmeventd.v1.EventType;
import com.vmeventd.v1.VmEventServiceGrpc;
import com.vmeventd.v1.WatchEventsRequest;
import io.grpc.ManagedChannelBuilder;

// Prints how each VM ended, from the oldest event on.
class Watch {
  public static void main(String[] args) {
    var channel = ManagedChannelBuilder.forTarget(args[0]).usePlaintext().build();
    var request = WatchEventsRequest.newBuilder().setFromOldest(true).build();
    VmEventServiceGrpc.newBlockingStub(channel).watchEvents(request).forEachRemaining(response -> {
      for (Event event : response.getEventsList()) {
        if (event.getType() == EventType.EVENT_TYPE_STOPPED) {
          var end = event.getShutdown();
          System.out.println(event.getVm().getName() + " " + end.getShutdownClass() + " " + end.getCause());
        }
      }
    });
  }
}
