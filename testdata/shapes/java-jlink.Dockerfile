FROM eclipse-temurin:25 AS jre
RUN $JAVA_HOME/bin/jlink \
         --add-modules java.base,java.logging,java.naming,java.sql \
         --strip-debug \
         --no-man-pages \
         --no-header-files \
         --compress=zip-6 \
         --output /javaruntime

FROM debian:bookworm-slim
ENV JAVA_HOME=/opt/java/openjdk
ENV PATH="${JAVA_HOME}/bin:${PATH}"
COPY --from=jre /javaruntime $JAVA_HOME
COPY target/app.jar /opt/app/japp.jar
CMD ["java", "-jar", "/opt/app/japp.jar"]
