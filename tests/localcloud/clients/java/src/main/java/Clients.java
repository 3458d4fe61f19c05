import com.google.cloud.WriteChannel;
import com.google.cloud.pubsub.v1.AckReplyConsumer;
import com.google.cloud.pubsub.v1.Publisher;
import com.google.cloud.pubsub.v1.Subscriber;
import com.google.cloud.pubsub.v1.SubscriptionAdminClient;
import com.google.cloud.pubsub.v1.TopicAdminClient;
import com.google.cloud.storage.Blob;
import com.google.cloud.storage.BlobId;
import com.google.cloud.storage.BlobInfo;
import com.google.cloud.storage.Storage;
import com.google.cloud.storage.StorageException;
import com.google.cloud.storage.StorageOptions;
import com.google.cloud.tasks.v2.CloudTasksClient;
import com.google.cloud.tasks.v2.HttpMethod;
import com.google.cloud.tasks.v2.HttpRequest;
import com.google.cloud.tasks.v2.Queue;
import com.google.cloud.tasks.v2.Task;
import com.google.gson.Gson;
import com.google.protobuf.ByteString;
import com.google.pubsub.v1.ProjectSubscriptionName;
import com.google.pubsub.v1.PubsubMessage;
import com.google.pubsub.v1.PushConfig;
import com.google.pubsub.v1.TopicName;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;

/** Google's clients for Java: a resumable upload, a precondition, a stream of messages, queues, a task. */
public class Clients {
  private static final int CHUNK = 256 * 1024;

  public static void main(String[] words) throws Exception {
    Map<String, Object> told = new TreeMap<>();
    objects(words[2], told);
    messages(words[0], told);
    queues(words[1], told);
    System.out.println(new Gson().toJson(told));
    System.exit(0);
  }

  /** Uploads in chunks, reads back, lists, and is refused to overwrite. */
  private static void objects(String bucket, Map<String, Object> told) throws Exception {
    Storage client = StorageOptions.getDefaultInstance().getService();
    byte[] data = new byte[3 * CHUNK + 1];
    Arrays.fill(data, (byte) 'x');
    BlobId name = BlobId.of(bucket, "from/java.bin");
    put(client, name, data);
    try {
      put(client, name, data);
    } catch (StorageException refused) {
      told.put("again", refused.getCode());
    }
    told.put("same", Arrays.equals(data, client.readAllBytes(name)));
    List<String> names = new ArrayList<>();
    for (Blob blob : client.list(bucket, Storage.BlobListOption.prefix("from/java")).iterateAll()) {
      names.add(blob.getName());
    }
    told.put("objects", names);
  }

  private static void put(Storage client, BlobId name, byte[] data) throws Exception {
    BlobInfo info = BlobInfo.newBuilder(name).build();
    try (WriteChannel channel = client.writer(info, Storage.BlobWriteOption.doesNotExist())) {
      channel.setChunkSize(CHUNK);
      channel.write(ByteBuffer.wrap(data));
    }
  }

  /** Hears each once; one is given back, and comes again. */
  private static void messages(String project, Map<String, Object> told) throws Exception {
    TopicName topic = TopicName.of(project, "from-java");
    ProjectSubscriptionName to = ProjectSubscriptionName.of(project, "to-java");
    try (TopicAdminClient topics = TopicAdminClient.create();
        SubscriptionAdminClient subscriptions = SubscriptionAdminClient.create()) {
      topics.createTopic(topic);
      subscriptions.createSubscription(to, topic, PushConfig.getDefaultInstance(), 10);
    }
    Publisher publisher = Publisher.newBuilder(topic).build();
    for (String text : List.of("one", "two", "again")) {
      publisher.publish(PubsubMessage.newBuilder().setData(ByteString.copyFromUtf8(text)).build()).get();
    }
    publisher.shutdown();
    List<String> heard = Collections.synchronizedList(new ArrayList<>());
    CountDownLatch all = new CountDownLatch(4);
    Subscriber subscriber =
        Subscriber.newBuilder(
                to,
                (PubsubMessage message, AckReplyConsumer reply) -> {
                  String text = message.getData().toStringUtf8();
                  if (text.equals("again") && !heard.contains("refused")) {
                    heard.add("refused");
                    reply.nack();
                  } else {
                    heard.add(text);
                    reply.ack();
                  }
                  all.countDown();
                })
            .build();
    subscriber.startAsync().awaitRunning();
    all.await();
    subscriber.stopAsync().awaitTerminated();
    Collections.sort(heard);
    told.put("heard", heard);
  }

  private static void queues(String parent, Map<String, Object> told) throws Exception {
    try (CloudTasksClient client = CloudTasksClient.create()) {
      Queue queue = client.listQueues(parent).iterateAll().iterator().next();
      told.put("queue", queue.getName());
      HttpRequest request =
          HttpRequest.newBuilder().setUrl("https://example.com/").setHttpMethod(HttpMethod.POST).build();
      Task task = Task.newBuilder().setHttpRequest(request).build();
      told.put("task", client.createTask(queue.getName(), task).getName());
    }
  }
}
